//! The OpenAPI description: it is valid, and requests that schemathesis derives from it cause neither failures nor answers that it does not
//! describe.

use std::{path::PathBuf, process::Command};

use crate::common::{Fixture, get, send, state};
use clap::CommandFactory;
use dhih_model::image::FORMATS;
use dhih_serve::{Cli, Keys, Limits, Server, ServerConfig, app, bind};

/// The Python that `DHIH_PYTHON` names.
fn python() -> PathBuf {
    std::env::var_os("DHIH_PYTHON").expect("DHIH_PYTHON names no Python").into()
}

/// The bug: page, help and description named three of the six formats.
#[tokio::test]
async fn page_help_and_description_name_all_formats_that_are_read() {
    let app = Fixture::new().app();
    let read = async |path| String::from_utf8(send(&app, get(path)).await.body.to_vec()).unwrap();
    let (page, description) = (read("/").await, read("/openapi.json").await);
    let mut command = Cli::command();
    let import = command.find_subcommand_mut("import").unwrap().render_long_help().to_string();
    let import = import.split_whitespace().collect::<Vec<_>>().join(" ");
    for (place, text) in [("page", &page), ("description", &description), ("help", &import)] {
        assert!(text.contains(FORMATS), "{place}: {text}");
    }
    for kind in FORMATS.replace(" or ", ", ").split(", ") {
        assert!(page.contains(&format!("image/{}", kind.to_lowercase())), "{kind}");
    }
}

/// The bug: the refusals of the layers, such as that of a key for other collections, were described on some operations only.
#[tokio::test]
async fn every_operation_describes_the_refusals_of_the_layers() {
    let app = Fixture::new().app();
    let api = send(&app, get("/openapi.json")).await.ok();
    for (path, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let has = |status: &str| operation["responses"].get(status).is_some();
            if ["/healthz", "/readyz"].contains(&&**path) {
                continue;
            }
            for status in ["400", "421", "429", "503"] {
                assert!(has(status), "{method} {path}: {status}");
            }
            let is_of_all_keys = ["/v1/session", "/v1/collections"].contains(&&**path);
            assert!(has("403") || is_of_all_keys, "{method} {path}: 403");
            assert!(has("408") != has("504"), "{method} {path}: one of 408 and 504");
        }
    }
    let cookie = &api["components"]["securitySchemes"]["session"]["description"];
    assert!(cookie.as_str().unwrap().contains("__Host-dhih-session"), "{cookie}");
}

#[tokio::test]
#[ignore = "needs DHIH_PYTHON, a Python with openapi-spec-validator"]
async fn it_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("openapi.json");
    std::fs::write(&file, send(&Fixture::new().app(), get("/openapi.json")).await.body).unwrap();
    let output = Command::new(python()).args(["-m", "openapi_spec_validator"]).arg(&file).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs DHIH_PYTHON, a Python with schemathesis"]
async fn what_is_made_from_it_is_answered_as_it_says() {
    let fixture = Fixture::new();
    let app = app(state(fixture.writable(), Limits::default(), Keys::default()));
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/openapi.json", listener.local_addr().unwrap());
    let server = Server { listener, app, config: ServerConfig::default(), tls: None };
    let served = tokio::spawn(server.run(std::future::pending()));
    let command = tokio::task::spawn_blocking(move || {
        let program = python().with_file_name("schemathesis");
        Command::new(program)
            .args(["run", &url, "--max-examples", "25", "--phases", "examples,coverage,fuzzing"])
            // Schemathesis can only check what the description says. That a request succeeds only for ids that exist is not in it.
            .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"])
            .args(["--generation-deterministic", "--no-color", "--workers", "1"])
            .output()
    });
    let output = command.await.unwrap().unwrap();
    served.abort();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(" passed"), "{text}");
}
