//! A choice of decoder layers.

/// Some of a model's decoder layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layers {
    /// Every layer.
    All,
    /// No layer.
    #[default]
    None,
    /// For each layer, from the first, whether it is one of them. Layers beyond are not.
    Some(Vec<bool>),
}

impl Layers {
    /// Whether a layer is one of them.
    pub fn contains(&self, layer: usize) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(chosen) => chosen.get(layer).copied().unwrap_or(false),
        }
    }

    /// Every `interval`-th of some layers, not the first.
    pub(crate) fn every(interval: usize, num_layers: usize) -> Self {
        let layers = 1..=num_layers;
        Self::of(layers.map(|layer| layer.is_multiple_of(interval)).collect())
    }

    /// The layers for which `chosen` has `true`.
    pub(crate) fn of(chosen: Vec<bool>) -> Self {
        if chosen.iter().all(|is_chosen| *is_chosen) {
            Self::All
        } else if chosen.contains(&true) {
            Self::Some(chosen)
        } else {
            Self::None
        }
    }
}
