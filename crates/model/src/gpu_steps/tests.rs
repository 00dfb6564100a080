use super::graph_sizes;

#[test]
fn every_size_of_a_step_has_a_graph_that_is_not_much_larger() {
    for max_rows in [1, 3, 8, 63, 64, 100, 256, 300] {
        let sizes: Vec<_> = graph_sizes(max_rows).collect();
        assert!(sizes.is_sorted());
        assert_eq!(sizes.last(), Some(&max_rows));
        for rows in 1..=max_rows {
            let size = sizes.iter().find(|size| **size >= rows).unwrap();
            assert!(
                size - rows <= rows.max(16),
                "{rows} rows in a graph of {size}"
            );
        }
    }
}
