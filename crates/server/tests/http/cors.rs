//! Web pages of allowed origins may use the API from a browser, and others may not.

use farthing_server::ServeConfig;

use crate::stub_provider::StubProvider;
use crate::wire::{Endpoint, PATIENT, Response};

const APP: &str = "https://app.example.com";

async fn serve(origins: &[&str]) -> Endpoint {
    let config = ServeConfig {
        cors_origins: origins
            .iter()
            .map(|origin| origin.parse().unwrap())
            .collect(),
        ..ServeConfig::new(PATIENT)
    };
    Endpoint::serve_with(StubProvider::default().app(), config).await
}

/// What a browser asks before OpenAI's library sends a chat.
async fn preflight(server: &Endpoint, origin: &str) -> Response {
    let head = format!(
        "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization,content-type,x-stainless-arch,\
         x-stainless-retry-count\r\nConnection: close\r\n\r\n"
    );
    server.open_raw(&head).await.response().await
}

#[tokio::test]
async fn without_an_origin_nothing_is_allowed() {
    let server = serve(&[]).await;
    let response = preflight(&server, APP).await;
    assert_eq!(response.status, 405);
    assert_eq!(response.error()[2], "method_not_supported");
    let response = server
        .get_with("/v1/models", &format!("Origin: {APP}\r\n"))
        .await;
    assert_eq!(response.status, 200);
    assert!(
        !response.head.contains("access-control"),
        "{}",
        response.head
    );
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_send_what_openais_library_sends() {
    let server = serve(&["http://localhost:3000", APP]).await;
    let response = preflight(&server, APP).await;
    assert_eq!(response.status, 200);
    let has_id = response.head.contains("\r\nx-request-id: ");
    assert!(has_id, "{}", response.head);
    for line in [
        "access-control-allow-origin: https://app.example.com\r\n",
        "access-control-allow-headers: authorization,content-type,x-stainless-arch,\
         x-stainless-retry-count\r\n",
    ] {
        assert!(response.head.contains(line), "{}", response.head);
    }
    let methods = response
        .head
        .lines()
        .find_map(|line| line.strip_prefix("access-control-allow-methods: "));
    assert!(methods.unwrap().contains("post"), "{}", response.head);

    let response = server
        .get_with("/v1/models", &format!("Origin: {APP}\r\n"))
        .await;
    assert_eq!(response.status, 200);
    let exposed = response
        .head
        .lines()
        .find_map(|line| line.strip_prefix("access-control-expose-headers: "));
    for header in [
        "x-request-id",
        "x-ratelimit-remaining-requests",
        "retry-after",
    ] {
        assert!(exposed.unwrap().contains(header), "{}", response.head);
    }
    assert!(response.head.contains("\r\nvary: "), "{}", response.head);
    assert!(
        !response.head.contains("allow-credentials"),
        "{}",
        response.head
    );
}

/// The page has to be able to read why.
#[tokio::test]
async fn errors_may_be_read_too() {
    let server = serve(&[APP]).await;
    let origin = format!("Origin: {APP}\r\n");
    for path in ["/nothing", "/v1/models/none", "/v1/organization/costs"] {
        let response = server.get_with(path, &origin).await;
        assert_ne!(response.status, 200);
        let line = format!("access-control-allow-origin: {APP}\r\n");
        assert!(response.head.contains(&line), "{}", response.head);
    }
}

#[tokio::test]
async fn other_origins_stay_outside() {
    let server = serve(&[APP]).await;
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "null",
    ] {
        let response = preflight(&server, origin).await;
        let allows = response.head.contains("access-control-allow-origin");
        assert!(!allows, "{}", response.head);
    }
}

#[tokio::test]
async fn a_star_allows_every_origin() {
    let server = serve(&["*"]).await;
    for origin in [APP, "https://evil.example", "null"] {
        let response = preflight(&server, origin).await;
        let line = "access-control-allow-origin: *\r\n";
        assert!(response.head.contains(line), "{}", response.head);
    }
}
