//! `kernels/paged_attention.cu` against the CPU. The kernels get shuffled pages, with NaNs at all
//! positions to which no query attends.

use candle_core::{DType, Device, Tensor};
use farthing_ops::{AttentionBatch, KvCacheLayer, RopeFactors, RopeTable};
use half::{bf16, f16};

use crate::emulator::{Half, Launch, Memory, assert_untouched, floats, halves};
use crate::reference::{Random, assert_close, flat, integers, matrix};

const SCALE: f32 = 0.3;

struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    block_size: usize,
    window: Option<usize>,
    splits: usize,
    /// Context length and number of queries of each sequence.
    rows: Vec<(usize, usize)>,
}

const PLAIN: Case = Case {
    heads: 8,
    kv_heads: 2,
    head_dim: 64,
    block_size: 16,
    window: None,
    splits: 1,
    rows: Vec::new(),
};

impl Case {
    fn row_len(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn out_len(&self) -> usize {
        self.heads * self.head_dim
    }

    fn queries(&self) -> usize {
        self.rows.iter().map(|(_, queries)| queries).sum()
    }

    /// Numbers of queries of the graph's unused rows: stale values of a decode and of a prompt, in
    /// either order. A kernel that ignores the number of live rows would compute them.
    fn padding(&self) -> [usize; 2] {
        match self.rows.len() % 2 {
            0 => [1, 40],
            _ => [40, 1],
        }
    }

    fn rows_and_padding(&self) -> usize {
        self.rows.len() + self.padding().len()
    }

    fn queries_and_padding(&self) -> usize {
        self.queries() + self.padding().iter().sum::<usize>()
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Positions of the context to which at least one query attends.
    fn seen(&self, context: usize, queries: usize) -> std::ops::Range<usize> {
        let window = self.window.unwrap_or(usize::MAX);
        (context + 1).saturating_sub(queries).saturating_sub(window)..context
    }
}

/// All queries, keys and values of each sequence: `[context, row_len]`.
type Contexts<T> = Vec<Vec<T>>;

/// The CPU's attention over an f32 cache with the same values.
fn on_the_cpu<T: Half>(case: &Case, contexts: &Contexts<T>) -> Vec<f64> {
    let blocks = |context: &usize| context.div_ceil(16);
    let num_blocks = case.rows.iter().map(|(context, _)| blocks(context)).sum();
    let max_blocks = case.rows.iter().map(|(context, _)| blocks(context)).max();
    let max_blocks = max_blocks.unwrap();
    let (heads, kv_heads, head_dim) = (case.heads, case.kv_heads, case.head_dim);
    let cache = KvCacheLayer::zeros(num_blocks, 16, kv_heads, head_dim, DType::F32, &Device::Cpu);
    let cache = cache.unwrap();
    let rope =
        RopeTable::new(&vec![0.0; head_dim / 2], 1, RopeFactors::NONE, &Device::Cpu).unwrap();
    let (mut tables, mut starts, mut queries) = (Vec::new(), vec![0], Vec::new());
    let mut next_block = 0;
    for ((context, count), qkv) in case.rows.iter().zip(contexts) {
        let qkv = floats(qkv);
        let first_slot = next_block * 16;
        let slots: Vec<u32> = (first_slot as u32..(first_slot + context) as u32).collect();
        let positions = integers(&vec![0; *context]);
        let all = matrix(&qkv, *context, case.row_len());
        farthing_ops::rope_and_cache(&all, &rope, &positions, &integers(&slots), &cache, heads)
            .unwrap();
        tables.extend((0..max_blocks).map(|i| (next_block + i.min(blocks(context) - 1)) as u32));
        next_block += blocks(context);
        starts.push(starts.last().unwrap() + *count as u32);
        queries.extend_from_slice(&qkv[(context - count) * case.row_len()..]);
    }
    let context_lens: Vec<u32> = case
        .rows
        .iter()
        .map(|(context, _)| *context as u32)
        .collect();
    let batch = AttentionBatch {
        query_starts: integers(&starts),
        context_lens: integers(&context_lens),
        block_tables: Tensor::from_vec(tables, (case.rows.len(), max_blocks), &Device::Cpu)
            .unwrap(),
        max_queries: case.rows.iter().map(|(_, count)| *count).max().unwrap_or(0),
    };
    let m = case.queries();
    let out = matrix(&vec![0.0; m * case.out_len()], m, case.out_len());
    let queries = matrix(&queries, m, case.row_len());
    farthing_ops::paged_attention(&out, &queries, &cache, &batch, heads, SCALE, case.window)
        .unwrap();
    flat(&out).into_iter().map(f64::from).collect()
}

/// The kernels' input: a padded batch, and pages in shuffled order.
struct Paged<T> {
    qkv: Vec<T>,
    cache: Vec<T>,
    query_starts: Vec<u32>,
    context_lens: Vec<u32>,
    block_tables: Vec<u32>,
    table_width: usize,
}

impl<T: Half> Paged<T> {
    fn new(case: &Case, contexts: &Contexts<T>, random: &mut Random) -> Self {
        let (block_size, head_dim, kv_heads) = (case.block_size, case.head_dim, case.kv_heads);
        let pages = |context: &usize| context.div_ceil(block_size);
        let num_pages = case
            .rows
            .iter()
            .map(|(context, _)| pages(context))
            .sum::<usize>()
            + 2;
        let table_width = case
            .rows
            .iter()
            .map(|(context, _)| pages(context))
            .max()
            .unwrap()
            + 1;
        let mut free = random.shuffled(num_pages);
        let page_len = 2 * kv_heads * block_size * head_dim;
        let mut cache = vec![T::NAN; num_pages * page_len];
        // Entries that no query needs are page numbers far outside the cache.
        let mut block_tables = vec![u32::MAX; case.rows_and_padding() * table_width];
        let (mut qkv, mut query_starts) = (Vec::new(), vec![0]);
        for (row, ((context, count), own)) in case.rows.iter().zip(contexts).enumerate() {
            let table = free.split_off(free.len() - pages(context));
            for position in case.seen(*context, *count) {
                let page = table[position / block_size];
                block_tables[row * table_width + position / block_size] = page;
                for part in 0..2 {
                    for head in 0..kv_heads {
                        let from = position * case.row_len()
                            + (case.heads + part * kv_heads + head) * head_dim;
                        let to = ((page as usize * 2 + part) * kv_heads + head) * block_size
                            + position % block_size;
                        cache[to * head_dim..][..head_dim]
                            .copy_from_slice(&own[from..from + head_dim]);
                    }
                }
            }
            let first = qkv.len();
            qkv.extend_from_slice(&own[(context - count) * case.row_len()..]);
            for row in qkv[first..].chunks_exact_mut(case.row_len()) {
                row[case.out_len()..].fill(T::NAN);
            }
            query_starts.push(query_starts.last().unwrap() + *count as u32);
        }
        for count in case.padding() {
            qkv.extend(vec![T::NAN; count * case.row_len()]);
            query_starts.push(query_starts.last().unwrap() + count as u32);
        }
        let context_lens = case.rows.iter().map(|(context, _)| *context as u32);
        let context_lens = context_lens
            .chain(case.padding().map(|count| count as u32))
            .collect();
        Self {
            qkv,
            cache,
            query_starts,
            context_lens,
            block_tables,
            table_width,
        }
    }

    fn arguments(&self, case: &Case, launch: Launch) -> Memory {
        launch
            .shared_bytes(512 * case.head_dim)
            .memory(&self.qkv)
            .memory(&self.cache)
            .memory(&self.query_starts)
            .memory(&self.context_lens)
            .memory(&self.block_tables)
            .memory(&[case.rows.len() as u32])
            .u32(case.kv_heads)
            .u32(case.group())
            .u32(case.block_size)
            .u32(self.table_width)
            .u32(case.window.unwrap_or(0))
            .f32(SCALE)
            .run()
    }

    fn decode(&self, case: &Case, out: &[T]) -> Vec<T> {
        let (rows, pairs) = (
            case.rows_and_padding(),
            self.context_lens.len() * case.kv_heads,
        );
        let entry = format!("paged_attention_decode_{}_{}", T::NAME, case.head_dim);
        let launch = Launch::new("paged_attention", entry, 128)
            .grid(rows, case.kv_heads, case.splits)
            .memory(out);
        let launch = if case.splits == 1 {
            launch.null().null().null()
        } else {
            launch
                .memory(&vec![f32::NAN; pairs * case.splits * 16 * case.head_dim])
                .memory(&vec![f32::NAN; pairs * case.splits * 16 * 2])
                .memory(&vec![0_u32; pairs])
        };
        let memory = self.arguments(case, launch);
        if case.splits > 1 {
            let arrived = memory.get::<u32>(3);
            assert!(arrived.iter().all(|count| *count == 0), "{arrived:?}");
        }
        memory.get(0)
    }

    fn prefill(&self, case: &Case, out: &[T]) -> Vec<T> {
        let tiles =
            (case.queries_and_padding() * case.group()).div_ceil(128) + case.rows_and_padding();
        let entry = format!("paged_attention_prefill_{}_{}", T::NAME, case.head_dim);
        let launch = Launch::new("paged_attention", entry, 128)
            .grid(tiles, case.kv_heads, 1)
            .memory(out);
        self.arguments(case, launch).get(0)
    }
}

/// Runs the kernels that the batch needs and compares the result with the CPU's.
fn check<T: Half>(case: &Case) {
    let mut random = Random(case.head_dim as u64);
    let contexts: Contexts<T> = case
        .rows
        .iter()
        .map(|(context, _)| halves(&random.values(context * case.row_len())))
        .collect();
    let expected = on_the_cpu(case, &contexts);
    let paged = Paged::new(case, &contexts, &mut random);

    let mut out = vec![T::NAN; case.queries_and_padding() * case.out_len()];
    let is_decode = |queries: usize| queries * case.group() <= 16;
    if case.rows.iter().any(|(_, queries)| is_decode(*queries)) {
        out = paged.decode(case, &out);
    }
    if case.rows.iter().any(|(_, queries)| !is_decode(*queries)) {
        out = paged.prefill(case, &out);
    }
    let (out, padding) = out.split_at(case.queries() * case.out_len());
    // Values are at most 1, so rounding the weights changes a result by at most one rounding error. The
    // result is rounded too.
    let tolerance = 1.1 * T::ROUNDING;
    let what = format!(
        "{} {}/{} × {}, pages of {}, window {:?}, {} splits, {:?}",
        T::NAME,
        case.heads,
        case.kv_heads,
        case.head_dim,
        case.block_size,
        case.window,
        case.splits,
        case.rows
    );
    assert_close(&floats(out), &expected, tolerance, &what);
    assert_untouched(padding, "a row that is not live is written");
}

fn decodes(contexts: &[usize]) -> Vec<(usize, usize)> {
    contexts.iter().map(|context| (*context, 1)).collect()
}

#[test]
fn the_kernel_decodes_at_every_page_edge() {
    for block_size in [16, 32] {
        for (heads, kv_heads) in [(2, 2), (9, 3), (8, 2), (16, 1)] {
            check::<bf16>(&Case {
                heads,
                kv_heads,
                block_size,
                rows: decodes(&[1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130]),
                ..PLAIN
            });
        }
    }
}

#[test]
fn the_kernel_decodes_in_splits_of_any_length() {
    for splits in [2, 3, 8] {
        check::<bf16>(&Case {
            splits,
            rows: decodes(&[1, 64, 65, 128, 129, 300, 577]),
            ..PLAIN
        });
    }
    check::<f16>(&Case {
        splits: 4,
        window: Some(150),
        rows: decodes(&[1, 300, 149, 150, 151]),
        ..PLAIN
    });
}

#[test]
fn the_kernel_knows_every_head_dim() {
    for head_dim in [64, 96, 128] {
        let case = Case {
            head_dim,
            block_size: 32,
            splits: 2,
            rows: vec![(40, 40), (7, 1), (150, 13), (100, 1)],
            ..PLAIN
        };
        check::<bf16>(&case);
        check::<f16>(&case);
    }
}

#[test]
fn the_kernel_takes_chunks_beside_decodes_and_rows_without_queries() {
    for block_size in [16, 32] {
        for (heads, kv_heads) in [(9, 3), (2, 2), (8, 2)] {
            check::<bf16>(&Case {
                heads,
                kv_heads,
                block_size,
                rows: vec![
                    (1, 1),
                    (33, 33),
                    (64, 0),
                    (100, 7),
                    (15, 15),
                    (190, 161),
                    (16, 0),
                    (77, 1),
                    (50, 4),
                ],
                ..PLAIN
            });
        }
    }
}

#[test]
fn the_kernel_finds_its_sequence_among_many() {
    let mut random = Random(5);
    let rows = (0..70).map(|_| {
        let queries = random.below(40);
        (queries + 1 + random.below(30), queries)
    });
    check::<bf16>(&Case {
        heads: 4,
        kv_heads: 1,
        rows: rows.collect(),
        ..PLAIN
    });
}

#[test]
fn the_kernel_has_windows_shorter_and_longer_than_the_context() {
    for window in [1, 5, 16, 17, 100, 1000] {
        check::<bf16>(&Case {
            window: Some(window),
            splits: 2,
            rows: vec![(1, 1), (40, 40), (90, 3), (260, 80), (129, 1), (64, 1)],
            ..PLAIN
        });
    }
}
