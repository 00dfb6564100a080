//! The floating-point types that checkpoints store.

use half::{f16, slice::HalfFloatSliceExt};

/// The stored type of one element, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatType {
    F32,
    F16,
    Bf16,
}

impl FloatType {
    /// Bytes of one element.
    pub(super) fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Appends whole elements to `out` as f32.
    pub(crate) fn append(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => {
                let (elements, _) = bytes.as_chunks::<4>();
                out.extend(elements.iter().map(|element| f32::from_le_bytes(*element)));
            }
            Self::Bf16 => {
                let (elements, _) = bytes.as_chunks::<2>();
                out.extend(
                    elements.iter().map(|element| {
                        f32::from_bits(u32::from(u16::from_le_bytes(*element)) << 16)
                    }),
                );
            }
            Self::F16 => {
                // `half` uses the processor's conversion instructions for slices, but not for
                // single elements.
                let (elements, _) = bytes.as_chunks::<2>();
                let mut halves = [f16::ZERO; 256];
                for elements in elements.chunks(halves.len()) {
                    let halves = &mut halves[..elements.len()];
                    for (half, element) in halves.iter_mut().zip(elements) {
                        *half = f16::from_le_bytes(*element);
                    }
                    let start = out.len();
                    out.resize(start + halves.len(), 0.0);
                    halves.convert_to_f32_slice(&mut out[start..]);
                }
            }
        }
    }
}
