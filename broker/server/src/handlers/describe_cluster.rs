//! DescribeCluster.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 60, advertised: 0..=2, served_from: 0, shape: &shapes::DESCRIBE_CLUSTER, handle };

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

fn handle(call: Call) -> Answer {
    call.now(|call, request: DescribeClusterRequest| {
        let refused = |code: Code, message: &'static str| {
            DescribeClusterResponse::default()
                .with_error_code(code.code())
                .with_error_message(Some(view::text(message)))
        };
        match request.endpoint_type {
            BROKERS => {}
            CONTROLLERS => {
                return refused(
                    Code::MismatchedEndpointType,
                    "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
                );
            }
            _ => return refused(Code::UnsupportedEndpointType, "Unsupported endpoint type"),
        }
        let image = call.context.image();
        let brokers = view::reachable(&image, &call.peer.listener)
            .map(|(broker, endpoint)| {
                DescribeClusterBroker::default()
                    .with_broker_id(view::broker_id(broker.node))
                    .with_host(view::text(&*endpoint.host))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(broker.rack.as_deref().map(view::text))
            })
            .collect();
        let asked = request.include_cluster_authorized_operations;
        let operations = if asked { view::CLUSTER_OPERATIONS } else { view::NO_OPERATIONS };
        DescribeClusterResponse::default()
            .with_cluster_id(image.cluster_id().map(|id| view::text(id.to_string())).unwrap_or_default())
            .with_controller_id(view::controller(&image))
            .with_brokers(brokers)
            .with_cluster_authorized_operations(operations)
    })
}
