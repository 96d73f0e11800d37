//! Which path of the admin API is answered by what.

use std::future::Future;
use std::pin::Pin;

use aquifer_types::NodeId;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// A request, as its handler sees it.
#[derive(Debug)]
pub(crate) struct Call {
    parameters: Vec<(&'static str, String)>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

type Handling = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = Box<dyn Fn(Call) -> Handling + Send + Sync>;

/// The routes of the API, first match first.
#[derive(Default)]
pub(crate) struct Router {
    routes: Vec<(Method, &'static str, Handler)>,
}

impl Call {
    /// The path's part `{name}`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The path's part `{node}`.
    pub(crate) fn node(&self) -> Result<NodeId, Reply> {
        let text = self.parameter("node").unwrap_or_default();
        let node = text.parse().ok().map(NodeId).filter(|node| *node <= NodeId::MAX);
        node.ok_or_else(|| Reply::error(StatusCode::BAD_REQUEST, format!("'{text}' is no node id")))
    }
}

impl Reply {
    /// A reason instead of an answer.
    pub(crate) fn error(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": reason.into() }) }
    }
}

impl<T: Serialize> From<Result<T, String>> for Reply {
    fn from(result: Result<T, String>) -> Self {
        match result.map(|answer| serde_json::to_value(answer)) {
            Ok(Ok(body)) => Self { status: StatusCode::OK, body },
            Ok(Err(error)) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            Err(reason) => Self::error(StatusCode::CONFLICT, reason),
        }
    }
}

impl Router {
    /// Adds a route. A part `{name}` of its path takes any text without a slash.
    pub(crate) fn route<H, F>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        self.routes.push((method, path, Box::new(move |call| Box::pin(handler(call)))));
        self
    }

    /// The answer to a request.
    pub(crate) async fn answer(&self, method: &Method, path: &str) -> Reply {
        let mut known = false;
        for (of, pattern, handler) in &self.routes {
            let Some(parameters) = matched(pattern, path) else { continue };
            if of == method {
                return handler(Call { parameters }).await;
            }
            known = true;
        }
        match known {
            true => Reply::error(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{path} takes another method than {method}"),
            ),
            false => Reply::error(StatusCode::NOT_FOUND, format!("there is no {path}")),
        }
    }
}

fn matched(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let mut parameters = Vec::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => {
                match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(name) => parameters.push((name, given.to_owned())),
                    None if wanted == given => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(method: Method, path: &str) -> Reply {
        let named = |call: Call| async move { Reply::from(call.node().map_err(|_| "no node".to_owned())) };
        let router = Router::default().route(Method::GET, "/v1/nodes/{node}", named).route(
            Method::POST,
            "/v1/nodes/{node}/drain",
            |_| async { Reply::from(Ok::<_, String>("drained")) },
        );
        router.answer(&method, path).await
    }

    #[tokio::test]
    async fn a_path_finds_its_handler_by_method_and_parts() {
        assert_eq!(
            answer(Method::GET, "/v1/nodes/7").await,
            Reply { status: StatusCode::OK, body: json!(7) }
        );
        assert_eq!(answer(Method::POST, "/v1/nodes/7/drain").await.body, json!("drained"));
        assert_eq!(answer(Method::GET, "/v1/nodes/7/drain").await.status, StatusCode::METHOD_NOT_ALLOWED);
        for path in ["/", "/v1/nodes", "/v1/nodes/7/drain/now", "/v2/nodes/7"] {
            assert_eq!(answer(Method::GET, path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        for path in ["/v1/nodes/x", "/v1/nodes/", "/v1/nodes/-1", "/v1/nodes/4294967295"] {
            assert_eq!(answer(Method::GET, path).await.status, StatusCode::CONFLICT, "{path}");
        }
    }
}
