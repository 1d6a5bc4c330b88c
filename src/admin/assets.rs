//! The page's own files: they are in the binary, nothing comes from elsewhere.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

pub(super) async fn css() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../assets/app.css"))
}

pub(super) async fn js() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../assets/app.js"))
}

pub(super) async fn icon() -> impl IntoResponse {
    let icon = include_str!("../../catalog/herder/catalogIcon-herder.svg");
    ([(CONTENT_TYPE, "image/svg+xml")], icon)
}
