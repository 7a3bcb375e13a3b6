//! The receiver over gRPC: the official service, on a server that isn't ours.

use super::{Answer, Export, Receiver};
use crate::Span;
use anyhow::Result;
use http::Version;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

impl Receiver {
    /// Starts a receiver of OTLP over gRPC on a free port.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start_grpc() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self::at(listener.local_addr()?.port());
        let service =
            TraceServiceServer::new(receiver.clone()).accept_compressed(CompressionEncoding::Gzip);
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok(receiver)
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let spans = Span::all_of(request.get_ref());
        let export = Export {
            method: "POST".into(),
            path: super::GRPC_PATH.into(),
            version: Version::HTTP_2,
            server_name: None,
            headers,
            body: bytes::Bytes::new(),
            spans: spans.len(),
        };
        let answer = self.record(export, spans);
        let mut response = ExportTraceServiceResponse::default();
        match answer {
            Answer::Grpc(code) => return Err(Status::new(Code::from_i32(code), "told to")),
            Answer::GrpcRetry(code, delay) => {
                let details = ErrorDetails::with_retry_info(Some(delay));
                return Err(Status::with_error_details(Code::from_i32(code), "told to", details));
            }
            Answer::Hang => std::future::pending().await,
            Answer::Slow(time) => tokio::time::sleep(time).await,
            Answer::Held => self.released().await,
            Answer::PartialSuccess(rejected_spans) => {
                let error_message = "told to reject some".to_owned();
                response.partial_success =
                    Some(ExportTracePartialSuccess { rejected_spans, error_message });
            }
            Answer::Ok => {}
            other => return Err(Status::unimplemented(format!("{other:?} over gRPC"))),
        }
        Ok(Response::new(response))
    }
}
