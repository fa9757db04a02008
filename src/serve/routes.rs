//! Who answers which path.

use crate::door::{Answer, Door, Request};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::webhook::Webhook;

/// The paths of section "HTTP" in docs/operations.md.
pub fn route(
    request: Request,
    webhook: &Webhook,
    health: &Health,
    door: Option<&Door>,
    metrics: &Metrics,
) {
    let method = request.method();
    let look = |answer: &dyn Fn() -> Answer| {
        if matches!(method, "GET" | "HEAD") { answer() } else { not_allowed("GET") }
    };
    let (path, answer) = match request.path() {
        "/webhook" | "/webhook/" if method == "POST" => return webhook.post(request),
        "/webhook" | "/webhook/" => ("/webhook", not_allowed("POST")),
        "/healthz" => ("/healthz", look(&|| health.alive())),
        "/readyz" => ("/readyz", look(&|| health.ready())),
        "/metrics" => ("/metrics", look(&|| health.metrics(door))),
        _ => ("other", Answer::text(404, "Not found: events are posted to /webhook".into())),
    };
    metrics.http_answered(path, answer.status);
    request.answer(&answer);
}

fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = Answer::text(405, format!("Use {allow}"));
    answer.headers.push(("Allow", allow));
    answer
}
