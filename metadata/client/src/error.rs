use aquifer_image::Rejection;
use aquifer_quorum::Effect;

/// Why a proposal did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// The image refused the command: it changed nothing.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The command did not reach the log and never will. Propose again as you like.
    #[error("the metadata quorum is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The command may or may not have taken effect, now or later. Look at the image before proposing again.
    #[error("the metadata change may or may not have taken effect: {reason}")]
    Unknown {
        /// What happened.
        reason: String,
    },
}

impl ProposeError {
    /// Whether the command may have taken effect.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Rejected(_) | Self::Unavailable { .. } => Effect::None,
            Self::Unknown { .. } => Effect::Unknown,
        }
    }
}
