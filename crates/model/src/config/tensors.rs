//! The tensors and modules of a model, with Hugging Face's names.

use std::borrow::Cow;

use super::ModelConfig;
use crate::vision_names;

/// A linear layer of a decoder layer: its name within the layer, and its number of outputs.
pub(crate) type LinearShape = (&'static str, usize);

impl ModelConfig {
    /// Number of weights. A tied output projection counts once.
    pub fn num_parameters(&self) -> usize {
        self.tensor_shapes()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// The linear layers that make queries, keys and values, in this order.
    pub(crate) fn qkv_layers(&self) -> Vec<LinearShape> {
        let (q, kv) = (self.q_size(), self.kv_size());
        if self.is_fused {
            vec![("self_attn.qkv_proj", q + 2 * kv)]
        } else {
            vec![
                ("self_attn.q_proj", q),
                ("self_attn.k_proj", kv),
                ("self_attn.v_proj", kv),
            ]
        }
    }

    /// The linear layers that make the MLP's gates and ups, in this order.
    pub(crate) fn gate_up_layers(&self) -> Vec<LinearShape> {
        let width = self.intermediate_size;
        if self.is_fused {
            vec![("mlp.gate_up_proj", 2 * width)]
        } else {
            vec![("mlp.gate_proj", width), ("mlp.up_proj", width)]
        }
    }

    /// All tensors of the model, with Hugging Face's names, in the order of computation. A matrix
    /// has shape `[rows, columns]`, a linear layer's rows being its outputs; a norm or a bias has
    /// shape `[columns]`.
    pub fn tensor_shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        let layer = self.layer_tensors();
        let layers = (0..self.num_hidden_layers).flat_map(move |index| {
            let named = layer.clone().into_iter();
            named.map(move |(name, shape)| (format!("model.layers.{index}.{name}"), shape))
        });
        let embedding = vec![self.vocab_size, self.hidden_size];
        let lm_head =
            (!self.tie_word_embeddings).then(|| ("lm_head.weight".to_owned(), embedding.clone()));
        std::iter::once(("model.embed_tokens.weight".to_owned(), embedding))
            .chain(layers)
            .chain(std::iter::once((
                "model.norm.weight".to_owned(),
                vec![self.hidden_size],
            )))
            .chain(lm_head)
    }

    /// The tensors of one decoder layer.
    fn layer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, mlp, q) = (self.hidden_size, self.intermediate_size, self.q_size());
        let mut tensors = Vec::new();
        let norm = |name: &str, width| (format!("{name}.weight"), vec![width]);
        let linear = |name: &str, rows, columns, has_bias: bool| {
            let bias = has_bias.then(|| (format!("{name}.bias"), vec![rows]));
            std::iter::once((format!("{name}.weight"), vec![rows, columns])).chain(bias)
        };
        tensors.push(norm("input_layernorm", hidden));
        for (name, rows) in self.qkv_layers() {
            tensors.extend(linear(name, rows, hidden, self.biases.qkv));
        }
        if self.has_head_norms {
            tensors.push(norm("self_attn.q_norm", self.head_dim));
            tensors.push(norm("self_attn.k_norm", self.head_dim));
        }
        tensors.extend(linear("self_attn.o_proj", hidden, q, self.biases.o));
        tensors.push(norm("post_attention_layernorm", hidden));
        for (name, rows) in self.gate_up_layers() {
            tensors.extend(linear(name, rows, hidden, self.biases.mlp));
        }
        tensors.extend(linear("mlp.down_proj", hidden, mlp, self.biases.mlp));
        tensors
    }

    /// The name that a module of the text part has in Hugging Face's model for text and images.
    pub(crate) fn full_name<'a>(&self, module: &'a str) -> Cow<'a, str> {
        match vision_names::full_name(module) {
            Some(name) if self.has_vision => Cow::Owned(name),
            _ => Cow::Borrowed(module),
        }
    }

    /// The names of all modules of Hugging Face's model.
    pub(crate) fn module_names(&self) -> impl Iterator<Item = String> + '_ {
        let projections = self.qkv_layers().into_iter().chain(self.gate_up_layers());
        let mut layer: Vec<_> = projections.map(|(name, _)| format!(".{name}")).collect();
        let others = [
            "",
            ".self_attn",
            ".self_attn.o_proj",
            ".mlp",
            ".mlp.down_proj",
            if self.is_fused {
                ".mlp.activation_fn"
            } else {
                ".mlp.act_fn"
            },
            ".input_layernorm",
            ".post_attention_layernorm",
        ];
        layer.extend(others.map(str::to_owned));
        if self.has_head_norms {
            layer.extend([".self_attn.q_norm", ".self_attn.k_norm"].map(str::to_owned));
        }
        let layers = (0..self.num_hidden_layers).flat_map(move |index| {
            let names = layer.clone().into_iter();
            names.map(move |module| format!("model.layers.{index}{module}"))
        });
        let ends = [
            "model",
            "model.embed_tokens",
            "model.layers",
            "model.norm",
            "model.rotary_emb",
            "lm_head",
        ];
        ends.map(str::to_owned).into_iter().chain(layers)
    }
}
