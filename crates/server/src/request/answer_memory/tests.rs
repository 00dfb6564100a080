use super::*;

#[test]
fn one_answer_has_a_limit() {
    let memory = AnswerMemory::default();
    let mut answer = memory.open();
    assert_eq!(answer.add(MAX_ANSWER_BYTES), Ok(()));
    let limit = MAX_ANSWER_BYTES;
    assert_eq!(answer.add(1), Err(ApiError::AnswerTooLarge { limit }));
}

#[test]
fn large_answers_leave_room_for_small_ones() {
    let memory = AnswerMemory::default();
    let mut large: Vec<_> = (0..16).map(|_| memory.open()).collect();
    let refused = large
        .iter_mut()
        .filter_map(|answer| answer.add(MAX_ANSWER_BYTES).err())
        .count();
    // Seven fit, and leave the eighth as much as it wants: but it would take all.
    assert_eq!(refused, 16 - 7);
    drop(large.split_off(7));
    let mut small: Vec<_> = (0..1000).map(|_| memory.open()).collect();
    for answer in &mut small {
        assert_eq!(answer.add(32 << 10), Ok(()));
    }
    drop(small);
    drop(large);
    assert_eq!(memory.used.load(Ordering::Relaxed), 0);
}
