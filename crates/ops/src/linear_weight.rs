//! A weight matrix in the layout of the compute kernels.

use candle_core::{DType, Device, Result, Storage, Tensor, WithDType, bail};
use half::bf16;
use half::slice::HalfFloatSliceExt;

use crate::cuda::WeightUpload;
use crate::huge_pages::{filled, return_free_memory, with_room};
use crate::operand::source;
use crate::simd::Activation;

/// Output rows of a panel: one vector of accumulators.
pub(crate) const PANEL: usize = 16;

/// A weight matrix `[out_features, in_features]` in the layout that is fastest on its device.
///
/// On the CPU it is divided into panels of 16 output rows, zero padded, so that one vector holds 16
/// outputs and no horizontal sum is needed. Inputs are paired: bf16 as
/// `[ceil(out/16)][ceil(in/2)][16][2]`, which is the operand of AVX-512's and NEON's bf16 dot
/// products and needs two cheap conversions elsewhere; f32 as `[ceil(out/16)][ceil(in/2)][2][16]`,
/// which needs no conversion. On a GPU the matrix is stored row by row.
#[derive(Clone, Debug)]
pub struct LinearWeight {
    panels: Tensor,
    layout: WeightLayout,
    out_features: usize,
    in_features: usize,
}

impl LinearWeight {
    /// Number of outputs.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Number of inputs.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// `BF16` or `F32`.
    pub fn dtype(&self) -> DType {
        self.panels.dtype()
    }

    /// Size on the device, padding included.
    pub fn size_bytes(&self) -> usize {
        self.panels.elem_count() * self.dtype().size_in_bytes()
    }

    /// The rows of a weight that is [staged](LinearWeightBuilder::staged) for a GPU.
    ///
    /// # Errors
    /// The weight is not staged.
    pub(crate) fn staged_rows(&self) -> Result<Vec<bf16>> {
        if self.layout != WeightLayout::Rows || !self.panels.device().is_cpu() {
            bail!("this weight was not staged for a GPU");
        }
        self.panels.to_vec1()
    }

    /// The elements in the device's layout, one-dimensional.
    pub(crate) fn panels(&self) -> &Tensor {
        &self.panels
    }
}

/// Weights below this size are moved together.
const SMALL_BYTES: usize = 32 << 20;

/// Bytes that are moved together: a few huge pages at the ends do not count.
const TOGETHER_BYTES: usize = 64 << 20;

/// Moves small weights into shared buffers, in the order in which they are given. There are huge
/// pages only within one buffer: a weight of 1 MiB on its own has none. Weights on a GPU stay where
/// they are.
///
/// # Errors
/// Two weights of the CPU differ in type.
pub fn move_together<'a>(weights: impl IntoIterator<Item = &'a mut LinearWeight>) -> Result<()> {
    let small = |weight: &&mut LinearWeight| {
        weight.panels.device().is_cpu() && weight.size_bytes() < SMALL_BYTES
    };
    let mut together: Vec<&mut LinearWeight> = Vec::new();
    let mut bytes = 0;
    for weight in weights.into_iter().filter(small) {
        if bytes + weight.size_bytes() > TOGETHER_BYTES {
            move_all(&mut together)?;
            together.clear();
            bytes = 0;
        }
        bytes += weight.size_bytes();
        together.push(weight);
    }
    move_all(&mut together)?;
    return_free_memory();
    Ok(())
}

fn move_all(weights: &mut [&mut LinearWeight]) -> Result<()> {
    let Some(first) = weights.first() else {
        return Ok(());
    };
    let moved = match first.dtype() {
        DType::BF16 => concatenated::<bf16>(weights)?,
        _ => concatenated::<f32>(weights)?,
    };
    let mut start = 0;
    for weight in weights {
        let len = weight.panels.elem_count();
        weight.panels = moved.narrow(0, start, len)?;
        start += len;
    }
    Ok(())
}

fn concatenated<T: WithDType>(weights: &[&mut LinearWeight]) -> Result<Tensor> {
    let len = weights
        .iter()
        .map(|weight| weight.panels.elem_count())
        .sum();
    let mut all: Vec<T> = with_room(len);
    for weight in weights {
        let (storage, layout) = weight.panels.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => all.extend_from_slice(source("weight", storage, layout)?),
            _ => bail!("a weight of a GPU cannot be moved"),
        }
    }
    Tensor::from_vec(all, len, &Device::Cpu)
}

/// An element type of the rows that are loaded.
pub trait WeightElement: Copy {
    /// Rounded to nearest, ties to even.
    fn to_bf16(self) -> bf16;
    /// The value itself.
    fn to_f32(self) -> f32;
    /// Converts all of `from`, like [`Self::to_bf16`].
    fn write_bf16(from: &[Self], to: &mut [bf16]);
}

impl WeightElement for f32 {
    fn to_bf16(self) -> bf16 {
        <bf16 as Activation>::from_f32(self)
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn write_bf16(from: &[Self], to: &mut [bf16]) {
        to.convert_from_f32_slice(from);
    }
}

impl WeightElement for bf16 {
    fn to_bf16(self) -> bf16 {
        self
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    fn write_bf16(from: &[Self], to: &mut [bf16]) {
        to.copy_from_slice(from);
    }
}

/// The layout of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightLayout {
    /// The CPU's layout.
    Panels,
    /// The GPU's layout.
    Rows,
}

/// Packs a [`LinearWeight`] from rows that arrive in order, a few at a time. A loader needs no
/// second copy of the matrix and can fuse several matrices into one.
#[derive(Debug)]
pub struct LinearWeightBuilder {
    elements: Elements,
    layout: WeightLayout,
    device: Device,
    out_features: usize,
    in_features: usize,
    rows: usize,
}

#[derive(Debug)]
enum Elements {
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
    /// Being sent to a GPU.
    Sent(WeightUpload),
}

impl LinearWeightBuilder {
    /// Allocates memory for `[out_features, in_features]`.
    ///
    /// # Errors
    /// A dimension is zero, or `dtype` is neither `BF16` nor, on the CPU, `F32`.
    pub fn new(
        out_features: usize,
        in_features: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let layout = match device {
            Device::Cpu => WeightLayout::Panels,
            _ => WeightLayout::Rows,
        };
        Self::with_layout(out_features, in_features, dtype, layout, device)
    }

    /// Allocates host memory for a weight that will be copied to a GPU. The CPU cannot compute with
    /// it.
    ///
    /// # Errors
    /// A dimension is zero, or `dtype` is not `BF16`.
    pub fn staged(out_features: usize, in_features: usize, dtype: DType) -> Result<Self> {
        let layout = WeightLayout::Rows;
        Self::with_layout(out_features, in_features, dtype, layout, &Device::Cpu)
    }

    fn with_layout(
        out_features: usize,
        in_features: usize,
        dtype: DType,
        layout: WeightLayout,
        device: &Device,
    ) -> Result<Self> {
        if out_features == 0 || in_features == 0 {
            bail!("a weight must not be empty, it is [{out_features}, {in_features}]");
        }
        let len = match layout {
            WeightLayout::Panels => out_features.div_ceil(PANEL) * panel_len(in_features),
            WeightLayout::Rows => out_features * in_features,
        };
        let elements = match (dtype, layout) {
            (DType::BF16, WeightLayout::Rows) if !device.is_cpu() => {
                Elements::Sent(WeightUpload::new(len, device)?)
            }
            (DType::BF16, _) => Elements::Bf16(filled(bf16::ZERO, len)),
            (DType::F32, WeightLayout::Panels) => Elements::F32(filled(0.0, len)),
            (other, WeightLayout::Panels) => {
                bail!("weights are computed as BF16 or F32, not as {other:?}")
            }
            (other, WeightLayout::Rows) => {
                bail!("weights are computed as BF16 on a GPU, not as {other:?}")
            }
        };
        Ok(Self {
            elements,
            layout,
            device: device.clone(),
            out_features,
            in_features,
            rows: 0,
        })
    }

    /// Appends whole rows: `rows` is `[n, in_features]` for any `n`.
    ///
    /// # Errors
    /// The last row is incomplete, or there are more rows than the matrix has.
    pub fn push_rows<E: WeightElement>(&mut self, rows: &[E]) -> Result<()> {
        let count = rows.len() / self.in_features;
        if count * self.in_features != rows.len() {
            bail!(
                "{} values are not whole rows of {}",
                rows.len(),
                self.in_features
            );
        }
        if self.rows + count > self.out_features {
            bail!(
                "{} rows are too many for a weight of {} rows that has {} already",
                count,
                self.out_features,
                self.rows
            );
        }
        match (self.layout, &mut self.elements) {
            (WeightLayout::Rows, Elements::Bf16(elements)) => {
                let elements = &mut elements[self.rows * self.in_features..];
                E::write_bf16(rows, &mut elements[..rows.len()]);
                self.rows += count;
            }
            (_, Elements::Sent(upload)) => {
                upload.push(rows)?;
                self.rows += count;
            }
            _ => self.pack_rows(rows),
        }
        Ok(())
    }

    fn pack_rows<E: WeightElement>(&mut self, mut rows: &[E]) {
        while !rows.is_empty() {
            let count = match self.rows % PANEL {
                0 if rows.len() >= PANEL * self.in_features => PANEL,
                _ => 1,
            };
            let (next, rest) = rows.split_at(count * self.in_features);
            match count {
                PANEL => self.push_panel(next),
                _ => self.push_row(next),
            }
            rows = rest;
        }
    }

    /// Packs the rows of a whole panel. Unlike row by row, this writes in the order of memory.
    fn push_panel<E: WeightElement>(&mut self, rows: &[E]) {
        let width = self.in_features;
        let len = panel_len(width);
        let start = self.rows / PANEL * len;
        match &mut self.elements {
            Elements::Bf16(elements) => {
                let panel = &mut elements[start..start + len];
                for (pair, lanes) in panel.chunks_exact_mut(2 * PANEL).enumerate() {
                    for lane in 0..PANEL {
                        let row = &rows[lane * width..][..width];
                        lanes[2 * lane] = row[2 * pair].to_bf16();
                        let odd = row.get(2 * pair + 1);
                        lanes[2 * lane + 1] = odd.map_or(bf16::ZERO, |odd| odd.to_bf16());
                    }
                }
            }
            Elements::F32(elements) => {
                let panel = &mut elements[start..start + len];
                for (input, lanes) in panel.chunks_exact_mut(PANEL).enumerate().take(width) {
                    for lane in 0..PANEL {
                        lanes[lane] = rows[lane * width + input].to_f32();
                    }
                }
            }
            Elements::Sent(_) => {}
        }
        self.rows += PANEL;
    }

    fn push_row<E: WeightElement>(&mut self, row: &[E]) {
        let len = panel_len(self.in_features);
        let panel = self.rows / PANEL * len;
        let lane = self.rows % PANEL;
        match &mut self.elements {
            Elements::Bf16(elements) => {
                let panel = &mut elements[panel..panel + len];
                for (pair, values) in panel.chunks_exact_mut(2 * PANEL).zip(row.chunks(2)) {
                    for (parity, value) in values.iter().enumerate() {
                        pair[2 * lane + parity] = value.to_bf16();
                    }
                }
            }
            Elements::F32(elements) => {
                let panel = &mut elements[panel..panel + len];
                for (lanes, value) in panel.chunks_exact_mut(PANEL).zip(row) {
                    lanes[lane] = value.to_f32();
                }
            }
            Elements::Sent(_) => {}
        }
        self.rows += 1;
    }

    /// The finished weight on its device.
    ///
    /// # Errors
    /// Rows are missing.
    pub fn finish(self) -> Result<LinearWeight> {
        if self.rows != self.out_features {
            bail!(
                "a weight of {} rows got only {}",
                self.out_features,
                self.rows
            );
        }
        let panels = match self.elements {
            Elements::Bf16(elements) => {
                let len = elements.len();
                Tensor::from_vec(elements, len, &self.device)?
            }
            Elements::F32(elements) => {
                let len = elements.len();
                Tensor::from_vec(elements, len, &self.device)?
            }
            Elements::Sent(upload) => upload.finish()?,
        };
        Ok(LinearWeight {
            panels,
            layout: self.layout,
            out_features: self.out_features,
            in_features: self.in_features,
        })
    }
}

/// Elements of one panel.
pub(crate) fn panel_len(in_features: usize) -> usize {
    in_features.div_ceil(2) * 2 * PANEL
}
