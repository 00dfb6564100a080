//! Keeps the calls of tools apart, of which a stream has parts.

/// The calls of one choice so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolCalls(Vec<Call>);

#[derive(Clone, Debug)]
struct Call {
    vendor_index: Option<u64>,
    vendor_id: Option<String>,
    has_name: bool,
}

/// A part of a call, as a vendor sends it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallPart<'a> {
    pub(crate) index: Option<u64>,
    pub(crate) id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) arguments: &'a str,
}

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallPlace {
    /// The call, counted from 0.
    pub(crate) index: usize,
    /// It is the call's first part.
    pub(crate) is_new: bool,
    /// It is the first part with a name.
    pub(crate) is_named_now: bool,
    /// An earlier call has the same id.
    pub(crate) repeats_id: bool,
}

/// More calls in one answer are a fault.
const MAX_CALLS: usize = 1024;

impl ToolCalls {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the call of a part, or begins one. Vendors separate calls by an index, by an id, or
    /// only by sending each in one piece; some number all of them 0.
    pub(crate) fn place(&mut self, part: &CallPart) -> Result<CallPlace, &'static str> {
        let (id, name) = (filled(part.id), filled(part.name));
        let of_index = |call: &Call| part.index.is_none() || call.vendor_index == part.index;
        let known = self.0.iter().rposition(|call| match id {
            Some(id) => call.vendor_id.as_deref() == Some(id) && of_index(call),
            None => of_index(call),
        });
        // Without an id, a name says that another call begins.
        match known.filter(|at| id.is_some() || name.is_none() || !self.0[*at].has_name) {
            Some(index) => {
                let call = &mut self.0[index];
                let is_named_now = name.is_some() && !call.has_name;
                call.has_name |= is_named_now;
                Ok(CallPlace {
                    index,
                    is_new: false,
                    is_named_now,
                    repeats_id: false,
                })
            }
            None if id.is_none() && name.is_none() => {
                Err("a part of a tool call belongs to no call")
            }
            None => self.begin(part),
        }
    }

    /// Begins a call.
    pub(crate) fn begin(&mut self, part: &CallPart) -> Result<CallPlace, &'static str> {
        if self.0.len() == MAX_CALLS {
            return Err("the answer has more than 1024 tool calls");
        }
        let (id, name) = (filled(part.id), filled(part.name));
        let repeats_id = self
            .0
            .iter()
            .any(|call| id.is_some() && call.vendor_id.as_deref() == id);
        self.0.push(Call {
            vendor_index: part.index,
            vendor_id: id.map(str::to_owned),
            has_name: name.is_some(),
        });
        let index = self.0.len() - 1;
        Ok(CallPlace {
            index,
            is_new: true,
            is_named_now: name.is_some(),
            repeats_id,
        })
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
