//! `POST /tokenize` and `POST /detokenize`. The tests' tokenizer has one token a byte.

use serde_json::{Value, json};

use crate::wire::{BOS, Server};

#[tokio::test]
async fn texts_become_tokens_and_tokens_texts() {
    let server = Server::start().await;
    let body = json!({"model": "base", "prompt": "hé", "return_token_strs": true});
    let answer = server.post("/tokenize", &body).await.json();
    assert_eq!(answer["count"], 4);
    assert_eq!(answer["max_model_len"], 64);
    assert_eq!(answer["tokens"], json!([BOS, 104, 195, 169]));
    assert_eq!(
        answer["token_strs"],
        json!(["<bos>", "h", "\u{fffd}", "\u{fffd}"])
    );
    let plain = json!({"prompt": "hé", "add_special_tokens": false});
    let answer = server.post("/tokenize", &plain).await.json();
    assert_eq!(answer["tokens"], json!([104, 195, 169]));
    assert_eq!(answer["token_strs"], Value::Null);
    let back = json!({"model": "legal", "tokens": [104, 195, 169]});
    assert_eq!(
        server.post("/detokenize", &back).await.json(),
        json!({"prompt": "hé"})
    );
}

#[tokio::test]
async fn messages_go_through_the_template() {
    let server = Server::start().await;
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "return_token_strs": true});
    let answer = server.post("/tokenize", &body).await.json();
    let strings: Vec<_> = answer["token_strs"].as_array().unwrap().iter().collect();
    let text: String = strings.iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(text, "<bos>user: hi\n");
}

#[tokio::test]
async fn what_cannot_be_tokenized_is_told() {
    let server = Server::start().await;
    for (body, status, param) in [
        (json!({}), 400, json!("prompt")),
        (
            json!({"prompt": "hi", "messages": []}),
            400,
            json!("messages"),
        ),
        (json!({"prompt": 3}), 400, json!("prompt")),
        (
            json!({"prompt": "hi", "model": "nobody"}),
            404,
            json!("model"),
        ),
        (
            json!({"prompt": "hi", "colour": "red"}),
            400,
            json!("colour"),
        ),
        (
            json!({"messages": [{"role": "user", "content": "hi"}], "add_special_tokens": true}),
            400,
            json!("add_special_tokens"),
        ),
    ] {
        let refused = server.post("/tokenize", &body).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.body);
        assert_eq!(refused.error()[1], param, "{body}");
    }
    for body in [
        json!({"tokens": "hi"}),
        json!({"tokens": [-1]}),
        json!({"tokens": [259]}),
    ] {
        let refused = server.post("/detokenize", &body).await;
        assert_eq!(refused.error()[1], "tokens", "{body}: {}", refused.body);
    }
}
