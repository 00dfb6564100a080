use super::Geometry;

fn decode(rows: usize, kv_heads: usize, multiprocessors: usize) -> Geometry {
    Geometry {
        tokens: rows,
        rows,
        max_queries: 1,
        kv_heads,
        group: 4,
        head_dim: 128,
        multiprocessors,
    }
}

/// The buffers that `Gpu` reserves hold the parts of every launch that splits.
#[test]
fn the_parts_of_every_decode_fit_the_scratch() {
    for multiprocessors in [1, 58, 108, 132, 142] {
        let room = Geometry::max_split_blocks(multiprocessors);
        for kv_heads in [1, 2, 4, 8, 32] {
            for rows in 1..600 {
                let geometry = decode(rows, kv_heads, multiprocessors);
                let [x, y, z] = geometry.decode_blocks();
                assert!(z == 1 || x * y * z <= room, "{geometry:?}: {x} {y} {z}");
                assert!((1..=32).contains(&z));
            }
        }
    }
}

#[test]
fn one_long_context_is_split_and_many_are_not() {
    assert_eq!(decode(1, 8, 132).decode_blocks(), [1, 8, 32]);
    assert_eq!(decode(8, 8, 132).decode_blocks(), [8, 8, 9]);
    assert_eq!(decode(256, 8, 132).decode_blocks(), [256, 8, 1]);
}

/// Every tile of every row has a block: Σ ceil(queries · group / 128), however the queries are
/// distributed.
#[test]
fn prompts_have_enough_blocks() {
    for queries in [
        &[5][..],
        &[16, 17, 1],
        &[0, 0, 33],
        &[64, 64],
        &[1, 300, 7, 0],
    ] {
        for group in [1, 3, 4, 8] {
            let geometry = Geometry {
                tokens: queries.iter().sum(),
                rows: queries.len(),
                max_queries: queries.iter().copied().max().unwrap_or(0),
                group,
                ..decode(1, 2, 132)
            };
            let tiles: usize = queries.iter().map(|q| (q * group).div_ceil(128)).sum();
            match geometry.prefill_blocks() {
                Some([x, y, z]) => assert!(x >= tiles && y == 2 && z == 1),
                None => assert!(queries.iter().all(|q| q * group <= 16)),
            }
        }
    }
}

#[test]
fn a_decode_step_starts_one_kernel() {
    assert_eq!(decode(64, 8, 132).prefill_blocks(), None);
}
