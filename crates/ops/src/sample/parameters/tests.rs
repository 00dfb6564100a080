use super::{Lists, PARAMETER_WORDS};
use crate::{ListCapacity, SampleSpec};

fn plain() -> SampleSpec<'static> {
    SampleSpec {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.1,
        seed: 0x0123_4567_89ab_cdef,
        position: 7,
        ..SampleSpec::PLAIN
    }
}

/// The words are the fields of `Params` in `kernels/sample.cu`, in order.
#[test]
fn a_row_is_written_as_the_kernel_reads_it() {
    let capacity = ListCapacity {
        history: 16,
        bias: 4,
    };
    let mut lists = Lists::new(100, capacity);
    let mut list_words = vec![u32::MAX; capacity.words()];
    let mut words = [u32::MAX; PARAMETER_WORDS];
    let spec = SampleSpec {
        repetition_penalty: 1.5,
        logit_bias: &[(9, -2.0), (3, 4.0)],
        history: &[5, 6, 7],
        history_prompt_tokens: 2,
        logprobs: Some(3),
        ..plain()
    };
    lists.push(&spec, &mut words, &mut list_words).unwrap();
    assert_eq!(words[..4], [0x89ab_cdef, 0x0123_4567, 7, 0]);
    let floats: Vec<f32> = words[4..10].iter().map(|w| f32::from_bits(*w)).collect();
    assert_eq!(floats, [0.5, 0.9, 0.1, 0.0, 0.0, 1.5]);
    assert_eq!(words[10..], [40, 4, 0, 2, 3, 0, 2, 0]);

    let second = SampleSpec {
        presence_penalty: 1.0,
        logit_bias: &[(8, 1.0)],
        history: &[1],
        history_prompt_tokens: 1,
        ..plain()
    };
    lists.push(&second, &mut words, &mut list_words).unwrap();
    assert_eq!(words[10..], [40, 0, 3, 4, 4, 2, 3, 0]);
    assert_eq!(list_words[..3], [9, 3, 8]);
    let biases: Vec<f32> = list_words[4..7]
        .iter()
        .map(|w| f32::from_bits(*w))
        .collect();
    assert_eq!(biases, [-2.0, 4.0, 1.0]);
    assert_eq!(list_words[8..12], [5, 6, 7, 1]);
    assert_eq!(lists.used_words(), 12);
}

/// The history of a row without penalties is not sent.
#[test]
fn only_what_is_needed_travels() {
    let spec = SampleSpec {
        history: &[1, 2, 3],
        history_prompt_tokens: 3,
        ..plain()
    };
    let mut words = [0; PARAMETER_WORDS];
    let none = ListCapacity {
        history: 0,
        bias: 0,
    };
    Lists::new(100, none)
        .push(&spec, &mut words, &mut [])
        .unwrap();
    assert_eq!(words[12..], [0; 6]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refused = |spec: &SampleSpec<'_>| {
        let mut lists = [0; 8];
        let capacity = ListCapacity {
            history: 2,
            bias: 1,
        };
        Lists::new(100, capacity)
            .push(spec, &mut [0; PARAMETER_WORDS], &mut lists)
            .unwrap_err()
            .to_string()
    };
    let penalised = SampleSpec {
        repetition_penalty: 2.0,
        ..plain()
    };
    let history = SampleSpec {
        history: &[1, 2, 3],
        ..penalised.clone()
    };
    assert!(refused(&history).contains("more than 2 tokens"));
    let unknown = SampleSpec {
        history: &[100],
        ..penalised
    };
    assert!(refused(&unknown).contains("token 100"));
    let biases = SampleSpec {
        logit_bias: &[(1, 1.0), (2, 1.0)],
        ..plain()
    };
    assert!(refused(&biases).contains("more than 1 logit biases"));
    let logprobs = SampleSpec {
        logprobs: Some(21),
        ..plain()
    };
    assert!(refused(&logprobs).contains("at most 20"));
}
