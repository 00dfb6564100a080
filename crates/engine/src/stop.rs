//! Finds stop strings in text that arrives in pieces.

/// The stop strings of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopStrings {
    strings: Vec<String>,
}

impl StopStrings {
    pub(crate) fn new(strings: &[String]) -> Self {
        let strings = strings.iter().filter(|string| !string.is_empty());
        Self {
            strings: strings.cloned().collect(),
        }
    }

    /// The start of the stop string that is complete first, so that the result does not depend on
    /// how tokens cut the text. If several end together, the longest.
    pub(crate) fn find(&self, text: &str) -> Option<usize> {
        self.strings
            .iter()
            .filter_map(|stop| text.find(stop).map(|start| (start + stop.len(), start)))
            .min()
            .map(|(_, start)| start)
    }

    /// How many bytes at the end of `text` may be the start of a stop string.
    pub(crate) fn held_back(&self, text: &str) -> usize {
        self.strings
            .iter()
            .map(|stop| {
                (stop.char_indices().rev().map(|(len, _)| len))
                    .find(|&len| text.ends_with(&stop[..len]))
                    .unwrap_or(0)
            })
            .max()
            .unwrap_or(0)
    }
}
