//! `GET /v1/lora_adapters`, `POST /v1/load_lora_adapter` and `POST /v1/unload_lora_adapter`

use axum::extract::State;
use farthing_api::{AdapterList, LoadAdapterRequest, UnloadAdapterRequest};

use crate::adapters::NewAdapter;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::json_body::JsonBody;
use crate::http::operator_json::OperatorJson;

pub(super) async fn list(State(app): State<App>) -> OperatorJson<AdapterList> {
    let on_device = app.books.costs.stats().adapter_pool.resident;
    OperatorJson(app.models.adapter_list(&on_device))
}

/// Responds with text, as vLLM does.
pub(super) async fn load(State(app): State<App>, body: JsonBody) -> Result<String, ApiError> {
    let (request, _) = body.parse(LoadAdapterRequest::from_json).await?;
    let name = &request.lora_name;
    let new = NewAdapter {
        name,
        path: &request.lora_path,
        in_place: request.load_inplace,
        pinned: request.pinned,
    };
    app.models.load(new).await?;
    Ok(format!(
        "Success: LoRA adapter '{name}' added successfully."
    ))
}

pub(super) async fn unload(State(app): State<App>, body: JsonBody) -> Result<String, ApiError> {
    let (UnloadAdapterRequest { lora_name: name }, _) =
        body.parse(UnloadAdapterRequest::from_json).await?;
    app.models.unload(&name).await?;
    Ok(format!(
        "Success: LoRA adapter '{name}' removed successfully."
    ))
}
