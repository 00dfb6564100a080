use farthing_economics::HourlyPrice;

use super::{CostBasis, CostSplit, LoadCost};
use crate::figures::Figures;
use crate::meter::MeterReading;
use crate::record::{Answer, AnswerUsage, Record};
use crate::window::Window;
use farthing_api::ByToken;

/// A request every second, answered immediately: 100 tokens in, 20 of them cached, 10 out.
fn records() -> Vec<Record> {
    let record = |number: usize| Record {
        model: "m".into(),
        number,
        due_at: number as f64,
        sent_at: number as f64,
        prompt_tokens_asked: 100,
        output_tokens_asked: 10,
        outcome: Ok(Answer {
            text_at: vec![number as f64 + 0.25, number as f64 + 0.5],
            ended_at: number as f64 + 0.5,
            usage: Some(AnswerUsage {
                prompt_tokens: Some(100),
                cached_tokens: Some(20),
                completion_tokens: 10,
                device_seconds: None,
                usd: None,
            }),
        }),
    };
    (0..=40).map(record).collect()
}

/// The server computes half of the time: 0.1 s for 80 input tokens, 0.05 s for 20 cached ones,
/// `output_seconds` for 10 output tokens.
fn readings(output_seconds: impl Fn(usize) -> f64) -> Vec<MeterReading> {
    let mut reading = MeterReading::default();
    let mut readings = vec![reading];
    for second in 0..40 {
        reading.at += 1.0;
        reading.window_seconds += 1.0;
        reading.step_seconds += 0.15 + output_seconds(second);
        reading.tokens.input += 80;
        reading.tokens.cached += 20;
        reading.tokens.output += 10;
        reading.token_seconds = ByToken {
            input: reading.token_seconds.input + 0.1,
            cached: reading.token_seconds.cached + 0.05,
            output: reading.token_seconds.output + output_seconds(second),
        };
        readings.push(reading);
    }
    readings
}

/// At a tenth of a cent a second.
fn cost(readings: &[MeterReading]) -> LoadCost {
    let records = records();
    let window = Window::of(&records, 0).unwrap();
    let basis = CostBasis {
        records: &records,
        readings,
        window: &window,
        figures: &Figures::of(&records, 0, &window, None, &[]),
        seed: 1,
    };
    basis.cost("3.6".parse::<HourlyPrice>().unwrap()).unwrap()
}

#[test]
fn what_the_server_meters_adds_up_to_the_bill() {
    let cost = cost(&readings(|_| 0.35));
    assert_eq!(cost.split, CostSplit::MeteredByServer);
    assert_eq!(cost.usd.to_string(), "0.04");
    let shown =
        |usd: Option<rust_decimal::Decimal>| usd.unwrap().round_dp(6).normalize().to_string();
    // A second costs $0.001; of it 0.1/0.5 for 80 input tokens, 0.05/0.5 for 20 cached ones, and
    // 0.35/0.5 for 10 output tokens.
    assert_eq!(shown(cost.input.usd_per_million), "2.5");
    assert_eq!(shown(cost.cached.usd_per_million), "5");
    assert_eq!(shown(cost.output.usd_per_million), "70");
    // In half of the time nothing was computed.
    assert_eq!(shown(cost.output.busy_usd_per_million), "35");
    assert!((cost.busy_share.unwrap() - 0.5).abs() < 1e-9);
    assert!(cost.residual < 1e-9, "{}", cost.residual);
    // Constant values give an interval of zero width.
    let interval = cost.input.interval.unwrap();
    assert!((interval.low - 2.5).abs() < 1e-9 && (interval.high - 2.5).abs() < 1e-9);
}

/// The server's step model was good after a quarter of the window, or the server does not report
/// it.
#[test]
fn seconds_that_the_server_split_by_tokens_are_said_so() {
    let mut readings = readings(|_| 0.35);
    assert_eq!(cost(&readings).split_by_tokens_share, None);
    for (second, reading) in readings.iter_mut().enumerate() {
        reading.seconds_by_tokens = Some(7.0 + 0.5 * second.min(10) as f64);
    }
    let cost = cost(&readings);
    assert!((cost.split_by_tokens_share.unwrap() - 0.25).abs() < 1e-9);
    assert_eq!(
        cost.split_description(),
        "split by the device seconds that the server metered, of which it split 25 % by tokens: its \
         step model explained too little"
    );
}

#[test]
fn what_varies_has_an_interval_around_the_figure() {
    let cost = cost(&readings(|second| if second % 4 == 0 { 0.5 } else { 0.3 }));
    let price: f64 = cost.output.usd_per_million.unwrap().try_into().unwrap();
    let interval = cost.output.interval.unwrap();
    assert!(
        interval.low < price && price < interval.high,
        "{interval:?} {price}"
    );
    let drawn = cost.bootstrap.unwrap();
    assert_eq!((drawn.slices, drawn.block_slices), (40, 4));
}

#[test]
fn without_a_meter_time_is_shared_evenly_and_said_so() {
    let cost = cost(&[]);
    assert_eq!(cost.split, CostSplit::EvenlyByToken);
    // 40 s for 40 requests whose text came in the measured part; the last one's came after it.
    assert_eq!(
        (cost.input.tokens, cost.cached.tokens, cost.output.tokens),
        (3200.0, 800.0, 400.0)
    );
    let each = cost.input.usd_per_million;
    assert_eq!(each, cost.output.usd_per_million);
    assert_eq!(each.unwrap().round_dp(6).to_string(), "11.111111");
    assert_eq!(cost.cached.usd_per_million, None);
    assert!(cost.residual < 1e-9, "{}", cost.residual);
    assert!(cost.output.interval.is_some());
}

#[test]
fn a_short_load_has_a_price_but_no_interval() {
    let short = &readings(|_| 0.35)[..10];
    let cost = cost(short);
    assert!(cost.input.usd_per_million.is_some());
    assert_eq!((cost.input.interval, cost.bootstrap), (None, None));
}
