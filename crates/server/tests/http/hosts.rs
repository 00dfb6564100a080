//! Requests for another host are refused before anything else, whatever the route.

use farthing_server::ServeConfig;
use serde_json::{Value, json};

use crate::stub_provider::StubProvider;
use crate::wire::{Endpoint, PATIENT, Response, Server};

/// Sends a head as it is.
async fn ask(server: &Endpoint, head: &str) -> Response {
    server.open_raw(head).await.response().await
}

#[tokio::test]
async fn another_name_is_refused_on_every_route() {
    let server = Server::start().await;
    for path in [
        "/",
        "/health",
        "/metrics",
        "/v1/models",
        "/v1/costs/now",
        "/nothing",
    ] {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let response = ask(&server, &head).await;
        assert_eq!(response.status, 403, "{path}");
        assert!(response.head.contains("\r\nx-request-id: "), "{path}");
        let message = response.json()["error"]["message"].to_string();
        assert!(
            message.contains("evil.example") && message.contains("allowed-host"),
            "{message}"
        );
        assert_eq!(
            response.error(),
            [
                json!("invalid_request_error"),
                Value::Null,
                json!("host_not_allowed")
            ]
        );
    }
    for head in [
        "POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\
         Content-Type: application/json\r\nConnection: close\r\n\r\n{}",
        "OPTIONS /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(ask(&server, head).await.status, 403, "{head}");
    }
}

#[tokio::test]
async fn a_host_that_is_missing_or_doubled_is_a_400_in_openais_shape() {
    let server = Server::start().await;
    for head in [
        "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    ] {
        let response = ask(&server, head).await;
        assert_eq!(response.status, 400, "{head}");
        assert!(response.head.contains("\r\nx-request-id: "), "{head}");
        assert_eq!(response.error()[0], "invalid_request_error");
    }
    let old = ask(&server, "GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200);
}

#[tokio::test]
async fn an_allowed_name_passes() {
    let config = ServeConfig {
        allowed_hosts: vec!["api.example.com".parse().unwrap()],
        ..ServeConfig::new(PATIENT)
    };
    let server = Endpoint::serve_with(StubProvider::default().app(), config).await;
    for (host, status) in [
        ("api.example.com", 200),
        ("API.example.com:443", 200),
        ("127.0.0.1", 200),
        ("other.example.com", 403),
    ] {
        let head = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(ask(&server, &head).await.status, status, "{host}");
    }
}
