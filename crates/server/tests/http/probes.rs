//! `/health`, `/ready` and the list of models.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::wire::Server;

#[tokio::test]
async fn health_and_readiness_end_with_the_engine() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/ready").await.status, 200);
    server.engine.is_dead.store(true, Ordering::SeqCst);
    assert_eq!(server.get("/health").await.status, 503);
    assert_eq!(server.get("/ready").await.status, 503);
}

#[tokio::test]
async fn models_are_listed_with_their_adapters() {
    let server = Server::start().await;
    let mut list = server.get("/v1/models").await.json();
    for card in list["data"].as_array_mut().unwrap() {
        assert!(card["created"].take().as_u64().unwrap() > 1_700_000_000);
    }
    let card = |id: &str, root: &str, parent: Option<&str>| {
        json!({
            "id": id, "object": "model", "created": null, "owned_by": "farthing", "root": root,
            "parent": parent, "max_model_len": 64,
        })
    };
    let legal = server.shelf.path("legal");
    let expected = json!({"object": "list", "data": [
        card("base", "demo.gguf", None),
        card("org/base", "demo.gguf", None),
        card("legal", &legal, Some("base")),
    ]});
    assert_eq!(list, expected);
}

#[tokio::test]
async fn one_model_is_told_by_its_name_even_with_a_slash() {
    let server = Server::start().await;
    for (path, id) in [
        ("/v1/models/legal", "legal"),
        ("/v1/models/org/base", "org/base"),
    ] {
        assert_eq!(server.get(path).await.json()["id"], id);
    }
    assert_eq!(
        server.get("/v1/models/org%2Fbase").await.json()["id"],
        "org/base"
    );
}
