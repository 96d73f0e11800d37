//! One file per API: its key, its versions, its layout, its answer.

use crate::dispatch::Api;

pub(crate) mod api_versions;

/// Everything that this broker answers. ApiVersions says exactly this.
pub(crate) static APIS: &[&Api] = &[&api_versions::API];
