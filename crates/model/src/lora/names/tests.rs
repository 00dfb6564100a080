use super::{Root, TensorName};

fn read(written: &str) -> Option<(String, Option<Root>, Option<String>)> {
    TensorName::read(written).map(|it| (it.name, it.root, it.adapter))
}

const A: &str = "model.layers.0.self_attn.q_proj.lora_A.weight";

#[test]
fn a_tensor_is_known_under_every_tools_name() {
    for (written, root, adapter) in [
        // PEFT, Unsloth, Axolotl, TRL.
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            Root::CausalLm,
            None,
        ),
        // A state dict, also of an adapter with a name of its own.
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
            Root::CausalLm,
            Some("default"),
        ),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.policy.weight",
            Root::CausalLm,
            Some("policy"),
        ),
        // transformers' own, and others that leave the prefix out.
        (
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            Root::CausalLm,
            None,
        ),
        // Trained without an output.
        (
            "base_model.model.layers.0.self_attn.q_proj.lora_A.weight",
            Root::Decoder,
            None,
        ),
        (
            "layers.0.self_attn.q_proj.lora_A.weight",
            Root::Decoder,
            None,
        ),
        // Trained as part of a model with images.
        (
            "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
            Root::Inside,
            None,
        ),
        (
            "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight",
            Root::Outside,
            None,
        ),
        // Compiled and sharded.
        (
            "base_model.model._orig_mod.model.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.self_attn.q_proj.lora_A.default.weight",
            Root::CausalLm,
            Some("default"),
        ),
        (
            "module.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            Root::CausalLm,
            None,
        ),
    ] {
        let expected = (A.to_owned(), Some(root), adapter.map(str::to_owned));
        assert_eq!(read(written), Some(expected), "{written}");
    }
}

#[test]
fn other_tensors_keep_their_place() {
    for (written, name) in [
        (
            "base_model.model.lm_head.modules_to_save.default.weight",
            "lm_head.weight",
        ),
        (
            "base_model.model.model.embed_tokens.modules_to_save.weight",
            "model.embed_tokens.weight",
        ),
        (
            "base_model.model.model.embed_tokens.lora_embedding_A",
            "model.embed_tokens.lora_embedding_A",
        ),
        (
            "base_model.model.model.embed_tokens.lora_embedding_A.default",
            "model.embed_tokens.lora_embedding_A",
        ),
        (
            "base_model.model.lm_head.lora_B.default.bias",
            "lm_head.lora_B.bias",
        ),
        (
            "base_model.model.lm_head.lora_magnitude_vector.weight",
            "lm_head.lora_magnitude_vector.weight",
        ),
        (
            "base_model.model.lm_head.lora_magnitude_vector.default.weight",
            "lm_head.lora_magnitude_vector.weight",
        ),
        (
            "base_model.model.language_model.lm_head.lora_A.weight",
            "lm_head.lora_A.weight",
        ),
        ("base_model.model.score.weight", "score.weight"),
    ] {
        assert_eq!(read(written).map(|it| it.0).as_deref(), Some(name));
    }
    for written in [
        "q_proj.lora_A.weight",
        "transformer.h.0.attn.c_attn.lora_A.weight",
        "",
    ] {
        assert_eq!(read(written), None, "{written}");
    }
}

#[test]
fn a_module_has_the_name_that_it_was_trained_under() {
    for (root, layer, head) in [
        (Root::CausalLm, "model.layers.0.mlp", "lm_head"),
        (Root::Decoder, "layers.0.mlp", "lm_head"),
        (Root::Inside, "model.language_model.layers.0.mlp", "lm_head"),
        (
            Root::Outside,
            "language_model.model.layers.0.mlp",
            "language_model.lm_head",
        ),
    ] {
        assert_eq!(root.trained_name("model.layers.0.mlp"), layer);
        assert_eq!(root.trained_name("lm_head"), head);
    }
}
