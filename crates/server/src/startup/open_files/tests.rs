use super::*;

#[test]
fn descriptors_are_left_for_files() {
    for (open_files, connections) in [
        (0, 1),
        (64, 32),
        (256, 128),
        (1024, 768),
        (16_640, 16_384),
        (1 << 20, 16_384),
    ] {
        assert_eq!(connections_within(open_files), connections);
    }
}
