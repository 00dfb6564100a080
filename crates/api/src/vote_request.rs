//! The request body of `POST /v1/experiments/{id}/votes`.

use crate::InvalidRequest;
use crate::fields::Fields;

/// A person's comparison of two answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// The pair: the id of its request.
    pub request_id: String,
    /// Which answer is better.
    pub choice: VoteChoice,
}

/// Which of two answers is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteChoice {
    /// The one on the left.
    Left,
    /// The one on the right.
    Right,
    /// Both are good.
    Tie,
    /// Both are bad.
    BothBad,
}

impl VoteRequest {
    /// Parses and validates a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let request_id = fields.string("request_id")?;
        let request_id = request_id.ok_or_else(|| InvalidRequest::missing("request_id"))?;
        let choice = match fields.string("choice")?.as_deref() {
            Some("left") => VoteChoice::Left,
            Some("right") => VoteChoice::Right,
            Some("tie") => VoteChoice::Tie,
            Some("both_bad") => VoteChoice::BothBad,
            Some(_) => {
                let message = "Invalid 'choice': expected 'left', 'right', 'tie' or 'both_bad'.";
                return Err(InvalidRequest::value("choice", message));
            }
            None => return Err(InvalidRequest::missing("choice")),
        };
        fields.finish()?;
        Ok(Self { request_id, choice })
    }
}
