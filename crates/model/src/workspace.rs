//! Activations of one step. They are allocated once, and a step writes into views of them.

use candle_core::{DType, Tensor};

use crate::{ComputeType, DeviceKind, ModelConfig, ModelError};

/// Buffers for the activations of `max_tokens` tokens and the logits of `max_logit_rows` rows.
pub(crate) struct Workspace {
    tokens: TokenRows,
    logits: LogitRows,
    max_logit_rows: usize,
}

/// One row per token, in the device's activation type.
pub(crate) struct TokenRows {
    pub hidden: Tensor,    // [tokens, hidden], the residual stream
    pub normed: Tensor,    // [tokens, hidden]
    pub qkv: Tensor,       // [tokens, (heads + 2 kv_heads) * head_dim]
    pub attention: Tensor, // [tokens, heads * head_dim]
    pub gate_up: Tensor,   // [tokens, 2 * intermediate]
    pub activated: Tensor, // [tokens, intermediate]
}

/// One row per token whose logits are computed. Logits are f32 on every device.
pub(crate) struct LogitRows {
    pub hidden: Tensor, // [rows, hidden]
    pub normed: Tensor, // [rows, hidden]
    pub logits: Tensor, // [rows, vocab]
}

impl Workspace {
    pub(crate) fn new(
        config: &ModelConfig,
        max_tokens: usize,
        max_logit_rows: usize,
        (compute_type, kind): (ComputeType, DeviceKind),
    ) -> Result<Self, ModelError> {
        let device = kind.open()?;
        let dtype = kind.activation_dtype(compute_type);
        let zeros = |rows: usize, columns: usize| Tensor::zeros((rows, columns), dtype, &device);
        let (q, kv) = (config.q_size(), config.kv_size());
        Ok(Self {
            tokens: TokenRows {
                hidden: zeros(max_tokens, config.hidden_size)?,
                normed: zeros(max_tokens, config.hidden_size)?,
                qkv: zeros(max_tokens, q + 2 * kv)?,
                attention: zeros(max_tokens, q)?,
                gate_up: zeros(max_tokens, 2 * config.intermediate_size)?,
                activated: zeros(max_tokens, config.intermediate_size)?,
            },
            logits: LogitRows {
                hidden: zeros(max_logit_rows, config.hidden_size)?,
                normed: zeros(max_logit_rows, config.hidden_size)?,
                logits: Tensor::zeros((max_logit_rows, config.vocab_size), DType::F32, &device)?,
            },
            max_logit_rows,
        })
    }

    /// Size of a [`Workspace::new`].
    pub(crate) fn bytes(
        config: &ModelConfig,
        max_tokens: usize,
        max_logit_rows: usize,
        (compute_type, kind): (ComputeType, DeviceKind),
    ) -> usize {
        let attention = 2 * config.q_size() + 2 * config.kv_size();
        let token = 2 * config.hidden_size + attention + 3 * config.intermediate_size;
        let activations = max_tokens * token + max_logit_rows * 2 * config.hidden_size;
        activations * kind.activation_dtype(compute_type).size_in_bytes()
            + max_logit_rows * config.vocab_size * size_of::<f32>()
    }

    /// Views of the first `n` token rows.
    pub(crate) fn rows(&self, n: usize) -> Result<TokenRows, ModelError> {
        let t = &self.tokens;
        Ok(TokenRows {
            hidden: t.hidden.narrow(0, 0, n)?,
            normed: t.normed.narrow(0, 0, n)?,
            qkv: t.qkv.narrow(0, 0, n)?,
            attention: t.attention.narrow(0, 0, n)?,
            gate_up: t.gate_up.narrow(0, 0, n)?,
            activated: t.activated.narrow(0, 0, n)?,
        })
    }

    /// Views of the first `n` logit rows.
    pub(crate) fn logit_rows(&self, n: usize) -> Result<LogitRows, ModelError> {
        let l = &self.logits;
        Ok(LogitRows {
            hidden: l.hidden.narrow(0, 0, n)?,
            normed: l.normed.narrow(0, 0, n)?,
            logits: l.logits.narrow(0, 0, n)?,
        })
    }

    pub(crate) fn max_tokens(&self) -> Result<usize, ModelError> {
        Ok(self.tokens.hidden.dim(0)?)
    }

    pub(crate) fn max_logit_rows(&self) -> usize {
        self.max_logit_rows
    }
}
