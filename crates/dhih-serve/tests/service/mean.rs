//! `mean=true`: several images of a form are one query, whose code is that of the mean of their real values.

use dhih_index::Codes;
use serde_json::{Value, json as value};

use crate::common::{BITS, Fixture, ITEMS, fields, json, picture, png, post, send};

const PATH: &str = "/v1/search?k=1000&mean=true";

/// The code of the mean of the network's outputs for these pictures.
fn mean_code(fixture: &Fixture, pictures: &[usize]) -> String {
    let encoder = fixture.encoder();
    let all: Vec<Vec<f32>> =
        pictures.iter().map(|&number| encoder.encode(&picture(number)).unwrap()).collect();
    let mean = (0..BITS)
        .map(|bit| all.iter().map(|values| f64::from(values[bit])).sum::<f64>() / all.len() as f64);
    let mean: Vec<f32> = mean.map(|value| value as f32).collect();
    Codes::from_real(BITS as u32, &mean).unwrap().to_hex(0)
}

#[tokio::test]
async fn several_images_are_searched_by_their_mean() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let mut codes = Vec::new();
    for pictures in [&[7][..], &[7, 20], &[1, 2, 3, ITEMS + 1], &[5; 32]] {
        let files: Vec<Vec<u8>> = pictures.iter().map(|&number| png(number)).collect();
        let form: Vec<(&str, &[u8])> = files.iter().map(|file| ("image", &file[..])).collect();
        let answer = send(&app, fields(PATH, &form)).await.ok();
        assert_eq!(answer["code"], mean_code(&fixture, pictures), "{pictures:?}");
        let by_code = value!({ "code": answer["code"] }).to_string();
        let by_code = send(&app, json("/v1/search?k=1000", &by_code)).await.ok();
        assert_eq!(answer["hits"], by_code["hits"], "{pictures:?}");
        // The real values behind the code can be used for ordering.
        send(&app, fields(&format!("{PATH}&rerank=true"), &form)).await.ok();
        codes.push(answer["code"].clone());
    }
    codes.dedup();
    assert!(codes.len() > 2, "means differ: {codes:?}");
    let one: Value = send(&app, fields("/v1/search", &[("image", &png(7))])).await.ok();
    assert_eq!(one["code"], codes[0], "the mean of one image is that image");
}

#[tokio::test]
async fn what_has_no_mean_is_refused() {
    let app = Fixture::new().app();
    let good = png(1);
    let cut = [("image", &good[..]), ("image", &good[..60])];
    send(&app, fields(PATH, &cut)).await.refused(422, "unusable_image", "image 2 of the form");
    let text = [("image", &b"text"[..]), ("image", &good)];
    send(&app, fields(PATH, &text)).await.refused(415, "not_an_image", "image 1 of the form");
    let many = vec![("image", &good[..]); 33];
    send(&app, fields(PATH, &many)).await.refused(400, "ambiguous_query", "more than 32");
    send(&app, fields(PATH, &[])).await.refused(400, "missing_image", "no field");
    for request in [json(PATH, "{\"id\":1}"), post(PATH, "image/png", good.clone())] {
        send(&app, request).await.refused(400, "invalid_parameter", "images of a form");
    }
    let batch = fields("/v1/search/batch?mean=true", &[("image", &good)]);
    send(&app, batch).await.refused(400, "invalid_parameter", "/v1/search");
    let unasked = [("image", &good[..]), ("image", &good)];
    send(&app, fields("/v1/search", &unasked)).await.refused(400, "ambiguous_query", "?mean=true");
}
