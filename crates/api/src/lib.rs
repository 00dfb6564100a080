//! The words on the wire: OpenAI requests, chunks and error bodies.
