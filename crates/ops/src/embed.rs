//! Token embeddings.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};

use crate::LinearWeight;
#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::gemm::Panels;
use crate::linear_weight::{PANEL, panel_len};
use crate::operand::{destination, source};

/// `out [m, hidden] =` the rows `ids [m]` u32 of `table [vocab, hidden]`. The table may also be the
/// weight of the output layer, so that tied embeddings are stored once.
///
/// # Errors
/// A shape or a type doesn't fit, or an id is outside the table. Only the CPU checks the ids: on a
/// GPU the host doesn't see them.
pub fn embed(out: &Tensor, ids: &Tensor, table: &LinearWeight) -> Result<()> {
    let op = Embed {
        vocab: table.out_features(),
        hidden: table.in_features(),
    };
    out.inplace_op3(ids, table.panels(), &op)
}

struct Embed {
    vocab: usize,
    hidden: usize,
}

impl InplaceOp3 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        ids: &CpuStorage,
        ids_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
    ) -> Result<()> {
        self.check(out_layout, ids_layout)?;
        let ids = source::<u32>("embed: ids", ids, ids_layout)?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab) {
            bail!(
                "embed: token {id} is outside the vocabulary of {} tokens",
                self.vocab
            );
        }
        let out = destination("embed: out", out, out_layout)?;
        let table = Panels::new(table, table_layout)?;
        for (row, id) in out.chunks_exact_mut(self.hidden).zip(ids) {
            self.read_row(table, *id as usize, row);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        ids: &CudaStorage,
        ids_layout: &Layout,
        table: &CudaStorage,
        table_layout: &Layout,
    ) -> Result<()> {
        let rows = self.check(out_layout, ids_layout)?;
        let gpu = Gpu::of(&out.device)?;
        let out = operand("embed: out", out, out_layout)?;
        let element = out.element("embed: out")?;
        let arguments = arguments::Embed {
            out: out.address,
            token_ids: operand("embed: ids", ids, ids_layout)?.of("embed: ids", DType::U32)?,
            // No id refers to the tokens of an earlier step.
            sampled: 0,
            table: operand("embed: table", table, table_layout)?.of("embed: table", element)?,
            live: gpu.live_rows(rows)?,
            hidden: self.hidden as u32,
        };
        // SAFETY: the shapes were checked, and the caller guarantees the ids.
        unsafe { gpu.launch(Some(element), 0, Grid::new(rows, 1, 1), &arguments) }
    }
}

impl Embed {
    /// The number of ids.
    fn check(&self, out: &Layout, ids: &Layout) -> Result<usize> {
        let rows = ids.shape().dims1()?;
        if out.shape().dims2()? != (rows, self.hidden) {
            bail!(
                "embed: {rows} ids of a table of {} columns need out [{rows}, {}], not {:?}",
                self.hidden,
                self.hidden,
                out.shape()
            );
        }
        Ok(rows)
    }

    fn read_row(&self, table: Panels<'_>, id: usize, row: &mut [f32]) {
        let panel = id / PANEL * panel_len(self.hidden);
        let lane = id % PANEL;
        match table {
            Panels::Bf16(table) => {
                let pairs = table[panel..].chunks_exact(2 * PANEL);
                for (values, pair) in row.chunks_mut(2).zip(pairs) {
                    for (value, element) in values.iter_mut().zip(&pair[2 * lane..]) {
                        *value = element.to_f32();
                    }
                }
            }
            Panels::F32(table) => {
                for (value, lanes) in row.iter_mut().zip(table[panel..].chunks_exact(PANEL)) {
                    *value = lanes[lane];
                }
            }
        }
    }
}
