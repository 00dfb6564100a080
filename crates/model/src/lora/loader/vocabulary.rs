//! Embedding and output projection. They are one weight in a tied base model, and may be two in an
//! adapter.

use std::{ops::Range, rc::Rc};

use farthing_ops::LinearWeight;

use super::{Factors, Linear, Loader};
use crate::{
    ModelError,
    lora::{EmbeddingDelta, LoraEmbedding, LoraHead, config::LoraScale, magnitude::Delta},
};

const EMBED_TOKENS: &str = "model.embed_tokens";
const LM_HEAD: &str = "lm_head";

/// `[vocab, hidden]`.
type Table = Rc<Vec<f32>>;

/// The weights that replace those of the base model.
struct Own {
    embed_tokens: Option<Table>,
    lm_head: Option<Table>,
}

/// The adapter's factors for the embedding, as stored.
struct EmbeddingFactors {
    scale: LoraScale,
    a: Vec<f32>, // [rank, vocab]
    b: Vec<f32>, // [hidden, rank]
}

impl Loader<'_> {
    pub(super) fn vocabulary(&mut self) -> Result<(LoraEmbedding, LoraHead), ModelError> {
        self.check_saved_modules()?;
        let own = self.own_weights()?;
        let vocab = self.base.checkpoint.config().vocab_size;
        let factors = self.embedding_factors()?;
        let head_delta = match &factors {
            Some(factors) if self.ties() => {
                let factors = self.tied_head(factors, own.lm_head.as_ref())?;
                Some(self.stack(vec![(0, factors)], vocab)?)
            }
            _ => self.fused(&[self.head(own.lm_head.as_ref())])?,
        };
        let embed_tokens = LoraEmbedding {
            table: self.table(own.embed_tokens.as_ref())?,
            delta: match factors {
                None => None,
                Some(factors) => Some(self.embedding_delta(factors, own.embed_tokens.as_ref())?),
            },
        };
        let is_one = match (&own.embed_tokens, &own.lm_head) {
            (Some(embedding), Some(head)) => Rc::ptr_eq(embedding, head),
            _ => false,
        };
        let lm_head = LoraHead {
            weight: if is_one {
                embed_tokens.table.clone()
            } else {
                self.table(own.lm_head.as_ref())?
            },
            delta: head_delta,
        };
        Ok((embed_tokens, lm_head))
    }

    /// Whether output and embedding share the adapter's factors.
    fn ties(&self) -> bool {
        self.base.checkpoint.config().tie_word_embeddings && self.config.ensure_weight_tying
    }

    /// The entry of `modules_to_save` that names this module.
    fn saves(&self, module: &str) -> Option<&str> {
        let module = self.files.trained_name(module);
        self.config.targets.saves(&module)
    }

    /// Only embedding and output may be saved as a whole.
    fn check_saved_modules(&self) -> Result<(), ModelError> {
        for module in self.base.checkpoint.config().module_names() {
            if module != EMBED_TOKENS
                && module != LM_HEAD
                && let Some(name) = self.saves(&module)
            {
                return Err(self.files.refused(format!(
                    "modules_to_save names {name:?}, which is {module}: only embed_tokens and \
                     lm_head are replaced as a whole"
                )));
            }
        }
        Ok(())
    }

    /// Reads the weights of `modules_to_save`, and those that PEFT saves beside the factors or
    /// after a change of the vocabulary. The latter replace the base model's weights, which are one
    /// if they are tied.
    fn own_weights(&mut self) -> Result<Own, ModelError> {
        let tied = self.base.checkpoint.config().tie_word_embeddings;
        let ties = self.ties();
        let saves = |module| self.saves(module).is_some();
        let (saves_embedding, saves_head) = (saves(EMBED_TOKENS), saves(LM_HEAD));
        if ties && (saves_embedding || saves_head) {
            let embedding = self.own_weight(EMBED_TOKENS, true)?;
            self.own_weight(LM_HEAD, false)?;
            return Ok(Own {
                lm_head: embedding.clone(),
                embed_tokens: embedding,
            });
        }
        let embed_tokens = self.own_weight(EMBED_TOKENS, saves_embedding)?;
        let lm_head = self.own_weight(LM_HEAD, saves_head)?;
        if !tied || saves_embedding && saves_head {
            return Ok(Own {
                embed_tokens,
                lm_head,
            });
        }
        let in_base = match (saves_embedding, saves_head) {
            (false, false) => embed_tokens.clone().or_else(|| lm_head.clone()),
            (true, _) => lm_head.clone(),
            (_, true) => embed_tokens.clone(),
        };
        Ok(Own {
            embed_tokens: if saves_embedding {
                embed_tokens
            } else {
                in_base.clone()
            },
            lm_head: if saves_head { lm_head } else { in_base },
        })
    }

    /// A module's weight from the file; `None` to use the base model's.
    fn own_weight(&mut self, module: &str, is_saved: bool) -> Result<Option<Table>, ModelError> {
        let config = self.base.checkpoint.config();
        let shape = [config.vocab_size, config.hidden_size];
        let beside_factors = format!("{module}.base_layer.weight");
        let beside_factors = self.files.take_if_present(&beside_factors, &shape)?;
        let name = format!("{module}.weight");
        self.expect_vocabulary(&name)?;
        let own = if is_saved {
            Some(self.files.take(&name, &shape)?)
        } else {
            self.files
                .take_if_present(&name, &shape)?
                .or(beside_factors)
        };
        let Some(values) = own else {
            return Ok(None);
        };
        let is_the_bases = self.is_the_bases(module, &values)?;
        self.count(!is_the_bases);
        Ok((!is_the_bases).then(|| Rc::new(values)))
    }

    /// Tokens that were added in training are in no base model.
    fn expect_vocabulary(&self, name: &str) -> Result<(), ModelError> {
        let vocab = self.base.checkpoint.config().vocab_size;
        match self.files.rows(name) {
            Some(rows) if rows != vocab => Err(self.files.refused(format!(
                "tensor {name} has {rows} rows where the base model's vocabulary has {vocab}: its \
                 vocabulary was resized in training, so resize the base in the same way, or merge the \
                 adapter into it and serve the result as a model"
            ))),
            _ => Ok(()),
        }
    }

    fn is_the_bases(&self, module: &str, values: &[f32]) -> Result<bool, ModelError> {
        const CHUNK_ROWS: usize = 1024;
        let config = self.base.checkpoint.config();
        let mut base = Vec::new();
        let chunks = values.chunks(CHUNK_ROWS * config.hidden_size);
        for (chunk, values) in chunks.enumerate() {
            let start = chunk * CHUNK_ROWS;
            base.clear();
            let rows = start..start + values.len() / config.hidden_size;
            self.read_base_rows(module, rows, &mut base)?;
            if base != values {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn head<'b>(&self, own: Option<&'b Table>) -> Linear<'b> {
        let config = self.base.checkpoint.config();
        Linear {
            module: LM_HEAD,
            in_features: config.hidden_size,
            out_features: config.vocab_size,
            weight: own.map(|own| own.as_slice()),
        }
    }

    fn embedding_factors(&mut self) -> Result<Option<EmbeddingFactors>, ModelError> {
        if !self.is_target(EMBED_TOKENS)? {
            return Ok(None);
        }
        if self.config.lora_bias {
            return Err(self.files.refused(format!(
                "lora_bias is set and {EMBED_TOKENS} is a target, which PEFT does not combine"
            )));
        }
        let config = self.base.checkpoint.config();
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let scale = self.scale(EMBED_TOKENS)?;
        let name = |factor: &str| format!("{EMBED_TOKENS}.lora_embedding_{factor}");
        Ok(Some(EmbeddingFactors {
            scale,
            a: self.files.take(&name("A"), &[scale.rank, vocab])?,
            b: self.files.take(&name("B"), &[hidden, scale.rank])?,
        }))
    }

    /// The factors of an output that is tied to the embedding: those of the embedding, with A and B
    /// exchanged and transposed, whether or not the file repeats them.
    fn tied_head(
        &mut self,
        embedding: &EmbeddingFactors,
        own: Option<&Table>,
    ) -> Result<Factors, ModelError> {
        let head = self.head(own);
        let EmbeddingFactors { scale, a, b } = embedding;
        let rank = scale.rank;
        let name = |factor: &str| format!("{LM_HEAD}.lora_{factor}.weight");
        let head_a = self
            .files
            .take_if_present(&name("A"), &[rank, head.in_features])?;
        let head_b = self
            .files
            .take_if_present(&name("B"), &[head.out_features, rank])?;
        let scale = LoraScale {
            rank,
            ..self.scale(LM_HEAD)?
        };
        self.finish(
            &head,
            scale,
            head_a.unwrap_or_else(|| transposed(b, rank)),
            head_b.unwrap_or_else(|| transposed(a, head.out_features)),
        )
    }

    fn embedding_delta(
        &mut self,
        factors: EmbeddingFactors,
        own: Option<&Table>,
    ) -> Result<EmbeddingDelta, ModelError> {
        let EmbeddingFactors { scale, a, b } = factors;
        let rank = scale.rank;
        let (vocab, hidden) = (a.len() / rank, b.len() / rank);
        let mut gain = None;
        if let Some(magnitude) = self.magnitude(EMBED_TOKENS, hidden)? {
            let rows = |rows: Range<usize>, out: &mut Vec<f32>| match own {
                None => self.read_base_rows(EMBED_TOKENS, rows, out),
                Some(own) => {
                    out.extend(&own[rows.start * hidden..rows.end * hidden]);
                    Ok(())
                }
            };
            let column_gain = Delta::new(&a, &b, scale).column_gain(&magnitude, rows)?;
            gain = Some(self.finite_gain(EMBED_TOKENS, column_gain)?);
        }
        let table = self.weight(&transposed(&a, vocab), vocab)?;
        let mut identity = vec![0.0; rank * rank];
        identity
            .iter_mut()
            .step_by(rank + 1)
            .for_each(|it| *it = 1.0);
        let mut factors = Factors {
            rank,
            a: identity,
            b,
            gain,
            bias: None,
        };
        factors.scale_b(scale.scaling);
        self.count(factors.changes_something() && a.iter().any(|value| *value != 0.0));
        Ok(EmbeddingDelta {
            a: table,
            b: self.stack(vec![(0, factors)], hidden)?,
        })
    }

    fn table(&mut self, own: Option<&Table>) -> Result<Option<LinearWeight>, ModelError> {
        let vocab = self.base.checkpoint.config().vocab_size;
        own.map(|own| self.weight(own, vocab)).transpose()
    }
}

/// Transposes a matrix with `columns` columns.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| matrix.iter().skip(column).step_by(columns))
        .copied()
        .collect()
}
