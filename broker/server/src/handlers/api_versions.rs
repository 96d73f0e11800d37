//! ApiVersions: what this broker answers, generated from the dispatch table.

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::APIS;
use crate::dispatch::{Answer, Api, Call, Refusal};
use crate::reply::{self, ReplyHeader};
use aquifer_guard::shapes;

/// Needed where answers differ from all other APIs.
pub(crate) const KEY: i16 = 18;

pub(crate) const API: Api =
    Api { key: KEY, advertised: 0..=4, served_from: 0, shape: &shapes::API_VERSIONS, handle };

/// From here on the response has room for features.
const FEATURES_FROM: i16 = 3;
/// 4.3-IV0: the Kafka whose clients and tools this release is tested with. It says what they may expect, not how
/// metadata are stored.
const METADATA_VERSION: i16 = 30;
/// Grows with each change of a feature; there is none.
const FEATURES_EPOCH: i64 = 0;

const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;

fn handle(call: Call) -> Answer {
    call.now(|call, request: ApiVersionsRequest| {
        let named = |text: &str| call.version < 3 || is_software_name(text);
        if !named(&request.client_software_name) || !named(&request.client_software_version) {
            return ApiVersionsResponse::default().with_error_code(INVALID_REQUEST);
        }
        let response =
            ApiVersionsResponse::default().with_api_keys(APIS.iter().map(|api| line(api)).collect());
        if call.version < FEATURES_FROM { response } else { with_features(response) }
    })
}

/// Features that operators of Kafka upgrade one by one (KIP-584). The release decides about them here, so each has one
/// level, and those that are not built yet (`transaction.version`, `group.version`, …) are not listed, which is level 0.
fn with_features(response: ApiVersionsResponse) -> ApiVersionsResponse {
    let name = || StrBytes::from_static_str("metadata.version");
    let supported = SupportedFeatureKey::default()
        .with_name(name())
        .with_min_version(METADATA_VERSION)
        .with_max_version(METADATA_VERSION);
    let finalized = FinalizedFeatureKey::default()
        .with_name(name())
        .with_min_version_level(METADATA_VERSION)
        .with_max_version_level(METADATA_VERSION);
    response
        .with_supported_features(vec![supported])
        .with_finalized_features(vec![finalized])
        .with_finalized_features_epoch(FEATURES_EPOCH)
}

/// The answer to a version that we do not know, in the format that every client can read.
pub(crate) fn unsupported(header: ReplyHeader) -> Answer {
    let response =
        ApiVersionsResponse::default().with_error_code(UNSUPPORTED_VERSION).with_api_keys(vec![line(&API)]);
    Answer::Ready(reply::encode(header, 0, &response).map_err(|reason| Refusal::Encode {
        api: API.shape.api,
        version: 0,
        reason,
    }))
}

fn line(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key)
        .with_min_version(*api.advertised.start())
        .with_max_version(*api.advertised.end())
}

/// Kafka's pattern `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn software_names_follow_kafkas_pattern() {
        for good in ["a", "librdkafka", "apache-kafka-java", "4.3.1", "v-1.x"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b", ".", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
