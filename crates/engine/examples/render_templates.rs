//! Renders chat templates for comparison with Jinja2: `tests/fixtures/fuzz_templates.py` starts it.
//!
//! It reads lines of JSON, `{"template", "messages", "add_generation_prompt"}`, and answers each with a
//! line: `{"prompt"}`, `{"raised"}` for the template's own message, or `{"error"}`.

#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../tests/vocabulary/mod.rs"]
mod vocabulary;

use std::io::{self, BufRead, Write};

use farthing_engine::{ChatContent, ChatMessage, ChatTemplate, TextError, Tokenizer};
use serde_json::{Value, json};

fn main() {
    let tokenizer = Tokenizer::from_gguf(&vocabulary::smollm2()).unwrap();
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let messages = case["messages"].as_array().unwrap();
        let messages: Vec<ChatMessage> = messages.iter().map(message).collect();
        let opens = case["add_generation_prompt"].as_bool().unwrap();
        let prompt = ChatTemplate::new(case["template"].as_str().unwrap(), &tokenizer)
            .and_then(|template| template.render(&messages, opens));
        let answer = match prompt {
            Ok(prompt) => json!({"prompt": prompt.text()}),
            Err(TextError::Rejected(message)) => json!({"raised": message}),
            Err(error) => json!({"error": error.to_string()}),
        };
        writeln!(out, "{answer}").unwrap();
        out.flush().unwrap();
    }
}

fn message(value: &Value) -> ChatMessage {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ChatMessage {
        role: text(&value["role"]),
        content: ChatContent::Text(text(&value["content"])),
        name: None,
    }
}
