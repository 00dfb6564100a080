//! The four time limits.

use std::net::TcpStream;
use std::time::Duration;

use farthing_vendors::{VendorError, VendorFinish};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::fake_vendor::{Ending, FakeVendor, Play, Step};
use crate::openai::{delta, end, events};
use crate::setup::{ask, configured, outcome, vendor};

fn piece() -> Step {
    Step::Bytes(format!("data: {}\n\n", delta(json!({"content": "a"}))).into())
}

/// The error of a play under time limits.
async fn error(play: Play, timeouts: &str) -> VendorError {
    let fake = FakeVendor::start(move |_| play.clone()).await;
    let vendor = vendor(&fake, "openai", &format!("timeouts = {{ {timeouts} }}"));
    let error = outcome(ask(&vendor)).await.error.unwrap();
    // The connection is closed with the attempt.
    fake.until(|fake| fake.left() == 1).await;
    error
}

#[tokio::test]
async fn a_silent_vendor_meets_the_first_limit() {
    let limit = "first_content_seconds = 0.3";
    let expected = VendorError::FirstContentTimeout(Duration::from_millis(300));
    // No head; a head and nothing more; a harmless opening.
    let opening = format!(
        "data: {}\n\n",
        delta(json!({"role": "assistant", "content": ""}))
    );
    let plays = [
        Play::stream("").ending(Ending::Mute),
        Play::stream("").ending(Ending::Hang),
        Play::stream(opening).ending(Ending::Hang),
    ];
    for play in plays {
        assert_eq!(error(play, limit).await, expected);
    }
    assert!(expected.may_retry());
}

#[tokio::test]
async fn signs_of_life_are_no_content() {
    let ping = [
        Step::Bytes(b": ping\n\n".to_vec()),
        Step::Wait(Duration::from_millis(20)),
    ];
    let steps = std::iter::repeat_n(ping, 10_000).flatten().collect();
    let error = error(Play::steps(steps), "first_content_seconds = 0.5").await;
    assert_eq!(error.kind(), "first_content_timeout");
}

#[tokio::test]
async fn a_healthy_slow_stream_outlives_the_first_limit() {
    let rest = events(&[delta(json!({"content": "b"})), end("stop")]);
    let pause = Step::Wait(Duration::from_secs(4));
    let play = Play::steps(vec![piece(), pause, Step::Bytes(rest.into())]);
    let fake = FakeVendor::start(move |_| play.clone()).await;
    let vendor = vendor(&fake, "openai", "timeouts = { first_content_seconds = 3 }");
    let got = outcome(ask(&vendor)).await;
    assert_eq!((got.text(0).as_str(), got.error.as_ref()), ("ab", None));
    assert_eq!(got.ends(), [(0, VendorFinish::Stop)]);
}

#[tokio::test]
async fn silence_after_content_meets_the_idle_limit() {
    let play = Play::steps(vec![piece()]).ending(Ending::Hang);
    let error = error(play, "idle_seconds = 0.3").await;
    assert_eq!(error, VendorError::IdleTimeout(Duration::from_millis(300)));
}

#[tokio::test]
async fn an_endless_answer_meets_the_total_limit() {
    let steps = std::iter::repeat_n([piece(), Step::Wait(Duration::from_millis(20))], 10_000);
    let play = Play::steps(steps.flatten().collect());
    let error = error(play, "total_seconds = 0.7").await;
    assert_eq!(error, VendorError::TotalTimeout(Duration::from_millis(700)));
    assert!(!error.may_retry());
}

#[tokio::test]
async fn a_connection_that_is_not_made_is_an_error_that_costs_nothing() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    // A queue of connections that nobody accepts is soon full, and then the system is silent.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let wait = Duration::from_millis(300);
    let queue: Vec<_> = (0..4)
        .map(|_| TcpStream::connect_timeout(&silent, wait))
        .collect();
    for address in [closed, silent] {
        let toml = format!(
            "dialect = \"openai\"\nbase_url = \"http://{address}\"\nkey_env = \"THE_KEY\"\n\
             price_list = \"openai\"\ntimeouts = {{ connect_seconds = 0.3 }}"
        );
        let got = outcome(ask(&configured(&toml).unwrap())).await;
        let error = got.error.as_ref().unwrap();
        assert!(matches!(error, VendorError::Connect(_)), "{error:?}");
        assert!(error.may_retry());
        assert_eq!(got.usd(), "0");
    }
    drop(queue);
}
