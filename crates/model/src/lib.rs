//! Turns a batch into sampled tokens: weights, Llama and Mistral, LoRA, KV cache, runner.
