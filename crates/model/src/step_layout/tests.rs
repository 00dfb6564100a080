use candle_core::{Device, Tensor};
use farthing_scheduler::{AdapterId, Batch, BatchRow, BlockId, SequenceId};

use super::StepLayout;
use crate::flat_batch::FlatBatch;

fn row(tokens: &[u32], start: usize, blocks: &[u32]) -> BatchRow {
    BatchRow {
        sequence: SequenceId(0),
        tokens: tokens.to_vec(),
        start,
        prompt_tokens: 0,
        block_table: blocks.iter().map(|block| BlockId(*block)).collect(),
        adapter: None,
        sample: None,
        prompt_logprobs: None,
        next_prompt_token: None,
    }
}

/// What a step of two rows writes is what the device's views of a layout for four show, and the
/// views end where the layout does.
#[test]
fn the_views_show_what_was_written() {
    let layout = StepLayout {
        tokens: 4,
        rows: 4,
        samples: 4,
        lora_tiles: 2,
        table_width: 3,
    };
    let mut batch = Batch {
        rows: vec![row(&[7], 16, &[5, 2]), row(&[8], 47, &[9, 1, 4])],
    };
    batch.rows[1].adapter = Some(AdapterId([3; 32]));
    let mut words = vec![99; layout.words()];
    layout.write(&mut words, &FlatBatch::new(&batch), &[6], &[0, 1]);
    words[layout.parameters()].fill(3);

    let table = layout.block_table(&FlatBatch::new(&batch));
    assert_eq!((table.rows, table.columns, table.pitch), (2, 3, 3));
    let sent: Vec<_> = (0..table.rows)
        .flat_map(|row| &words[table.start + row * table.pitch..][..table.columns])
        .collect();
    assert_eq!(sent, [&5, &2, &99, &9, &1, &4]);

    let words = Tensor::new(words, &Device::Cpu).unwrap();
    let tensors = layout.tensors(&words, 1).unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(values(&tensors.live), [2]);
    assert_eq!(values(&tensors.token_ids), [7, 8, 99, 99]);
    assert_eq!(values(&tensors.positions), [16, 47, 99, 99]);
    assert_eq!(values(&tensors.slots), [2 * 16, 4 * 16 + 15, 99, 99]);
    assert_eq!(values(&tensors.lora_tiles), [6, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(values(&tensors.attention.query_starts), [0, 1, 2, 99, 99]);
    assert_eq!(values(&tensors.attention.context_lens), [17, 48, 99, 99]);
    assert_eq!(values(&tensors.last_tokens), [0, 1, 99, 99]);
    assert!(values(&tensors.parameters).iter().all(|word| *word == 3));
    let tables = values(&tensors.attention.block_tables);
    assert_eq!(tables[..6], [5, 2, 99, 9, 1, 4]);
    assert_eq!(tensors.attention.block_tables.dims(), [4, 3]);
}
