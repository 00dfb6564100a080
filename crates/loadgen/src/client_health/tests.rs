use super::{ClientHealth, ClientWatch};
use crate::record::{Failure, FailureKind, Record};

fn late_by(milliseconds: f64) -> Record {
    Record {
        model: "m".into(),
        number: 0,
        due_at: 1.0,
        sent_at: 1.0 + milliseconds / 1000.0,
        prompt_tokens_asked: 1,
        output_tokens_asked: 1,
        outcome: Err(Failure {
            kind: FailureKind::Timeout,
            message: String::new(),
            at: 2.0,
        }),
    }
}

#[test]
fn lateness_is_told_where_nobody_waits_for_a_place() {
    let records = vec![late_by(50.0); 10];
    let health = ClientWatch::new().health(&records, false);
    assert!((health.send_lateness_p99_ms.unwrap() - 50.0).abs() < 1e-9);
    assert!(health.warnings()[0].contains("sent requests late (p99 50 ms)"));
    let health = ClientWatch::new().health(&records, true);
    assert_eq!(health.send_lateness_p99_ms, None);
}

#[test]
fn a_client_in_good_health_is_no_matter() {
    let mut health = ClientHealth {
        send_lateness_p99_ms: Some(1.5),
        event_loop_lag_p99_ms: 1.2,
        cpu_cores: Some(0.3),
        cores: 2,
    };
    assert_eq!(health.warnings(), Vec::<String>::new());
    health.event_loop_lag_p99_ms = 90.0;
    health.cpu_cores = Some(1.9);
    assert_eq!(health.warnings().len(), 2);
}
