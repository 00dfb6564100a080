//! When a flush without an answer is reported.

use std::time::{Duration, Instant};

use super::SharedStatus;

#[test]
fn a_flush_without_an_answer_is_an_error_before_it_fails() {
    let status = SharedStatus::new(1);
    let began = Instant::now();
    status.set_flush_began(Some(began));
    let after = |seconds| status.seen_at(began + Duration::from_secs(seconds)).error;
    assert_eq!(after(1), None);
    assert_eq!(after(3).as_deref(), Some("no answer for 3 s"));

    // The reason of a failure says more.
    status.get().error = Some("no disk".to_owned());
    assert_eq!(after(3).as_deref(), Some("no disk"));

    status.get().error = None;
    status.set_flush_began(None);
    assert_eq!(after(3), None);
}
