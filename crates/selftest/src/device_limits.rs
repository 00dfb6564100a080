//! Measures the limits of a device.

use std::fmt;
use std::time::Instant;

use candle_core::{DType, Tensor};
use farthing_ops::{Accumulate, Graph, copy_on_device, gather_rows, linear};
use serde::Serialize;

use crate::shape::Shape;
use crate::side::{Random, Side};
use crate::timing::seconds;
use farthing_model::{DeviceKind, ModelError};

/// The measured limits of a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DeviceLimits {
    /// Bytes per second: on the CPU read from memory, on a GPU copied by the driver (read and
    /// written).
    pub bytes_per_second: f64,
    /// Floating-point operations per second: on the CPU by vector instructions, on a GPU by a
    /// product of large random matrices (zeros need less power and are faster).
    pub flops: f64,
    /// Host seconds to launch a kernel.
    pub launch_seconds: f64,
    /// Device seconds of an almost empty kernel in a graph.
    pub graph_kernel_seconds: f64,
    /// Host seconds to launch a graph.
    pub graph_launch_seconds: f64,
}

impl DeviceLimits {
    /// Measures for a few seconds. For the tiny shape, GPU measurements are short.
    pub(crate) fn measure(device: DeviceKind, shape: Shape) -> Result<Self, ModelError> {
        match device {
            DeviceKind::Cpu => {
                let limits = farthing_ops::Limits::measure();
                Ok(Self {
                    bytes_per_second: limits.read_bytes_per_second,
                    flops: limits.flops,
                    launch_seconds: 0.0,
                    graph_kernel_seconds: 0.0,
                    graph_launch_seconds: 0.0,
                })
            }
            DeviceKind::Cuda(_) => Self::of_gpu(&Side::tested(device)?, shape),
        }
    }

    fn of_gpu(side: &Side, shape: Shape) -> Result<Self, ModelError> {
        let (copied, matrix) = match shape {
            Shape::Tiny => (1 << 16, 64),
            _ => (1 << 30, 8192),
        };
        let device = &side.device;
        let source = Tensor::zeros(copied / 4, DType::U32, device)?;
        let target = Tensor::zeros(copied / 4, DType::U32, device)?;
        let copy = seconds(device, || Ok(copy_on_device(&target, &source)?))?;
        drop((source, target));
        let values = Random::new(5).values(matrix * matrix);
        let x = side.activations(&values, matrix)?;
        let out = side.room(matrix, matrix)?;
        let weight = side.weight(&values, matrix)?;
        let multiply = seconds(device, || {
            Ok(linear(&out, &x, &weight, Accumulate::Overwrite)?)
        })?;
        drop((x, out, weight));
        let [launch_seconds, graph_kernel_seconds, graph_launch_seconds] = launches(side)?;
        Ok(Self {
            bytes_per_second: 2.0 * copied as f64 / copy,
            flops: 2.0 * (matrix as f64).powi(3) / multiply,
            launch_seconds,
            graph_kernel_seconds,
            graph_launch_seconds,
        })
    }

    /// The minimum time for these bytes and operations.
    pub(crate) fn least_seconds(&self, bytes: f64, flops: f64) -> f64 {
        (bytes / self.bytes_per_second).max(flops / self.flops)
    }
}

impl fmt::Display for DeviceLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "limits   {:.1} GB/s, {:.2} TFLOP/s",
            self.bytes_per_second / 1e9,
            self.flops / 1e12
        )?;
        if self.launch_seconds > 0.0 {
            write!(
                f,
                "; a launch {:.2} µs, a kernel of a graph {:.2} µs, a graph {:.2} µs",
                self.launch_seconds * 1e6,
                self.graph_kernel_seconds * 1e6,
                self.graph_launch_seconds * 1e6
            )?;
        }
        Ok(())
    }
}

/// Host seconds of a launch, device seconds of a kernel in a graph, host seconds of a graph launch.
fn launches(side: &Side) -> Result<[f64; 3], ModelError> {
    const KERNELS: usize = 1000;
    let (out, x) = (side.room(1, 8)?, side.room(1, 8)?);
    let rows = side.integers(&[0])?;
    let live = side.integers(&[1])?;
    let all = || -> candle_core::Result<()> {
        (0..KERNELS).try_for_each(|_| gather_rows(&out, &x, &rows))
    };
    all()?;
    side.device.synchronize()?;
    let started = Instant::now();
    all()?;
    let launch = started.elapsed().as_secs_f64() / KERNELS as f64;
    side.device.synchronize()?;
    let graph = Graph::capture(&side.device, &live, all)?;
    let whole = seconds(&side.device, || Ok(graph.launch()?))?;
    let started = Instant::now();
    graph.launch()?;
    let graph_launch = started.elapsed().as_secs_f64();
    side.device.synchronize()?;
    Ok([launch, whole / KERNELS as f64, graph_launch])
}
