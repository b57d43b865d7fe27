//! The memory of the program under the most demanding pictures and bodies, all at once. The bugs: a colour profile of half a megabyte took a
//! gigabyte, two deep pictures of 400 KB exceeded a container of 1 GiB, and so did lines of JSON with nothing in them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::acknowledged::{Running, start};
use crate::common::{Fixture, encoded, png, program};
use crate::uploads::base64;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// The number of concurrent requests.
const AT_ONCE: usize = 64;
/// The most memory that the program may ever hold, in bytes.
const MOST: usize = 1 << 30;

struct Service {
    program: Running,
    address: SocketAddr,
    _fixture: Fixture,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let fixture = Fixture::new();
        let mut command = program();
        command.arg("--run").arg(fixture.run()).args(["--log-level", "error"]).args(arguments);
        let (program, address) = start(command.args(["--max-body-mib", "10"]));
        Self { program, address: address.parse().unwrap(), _fixture: fixture }
    }

    /// The peak memory so far, in bytes.
    fn peak(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }
}

/// Searches by an image over a new connection. Returns the status.
fn search(address: SocketAddr, image: &[u8]) -> u16 {
    let head = b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n";
    let body = [&head[..], image, b"\r\n--edge--\r\n"].concat();
    send(address, "multipart/form-data; boundary=edge", &body)
}

/// Sends a search with this body. Returns its status, as [`post`] does.
fn send(address: SocketAddr, content_type: &str, body: &[u8]) -> u16 {
    post(address, &Body { path: "/v1/search?k=1", content_type, body })
}

/// The body of a request, and where it is sent.
struct Body<'a> {
    path: &'a str,
    content_type: &'a str,
    body: &'a [u8],
}

/// Sends a body over a new connection. Returns the status, or 0 if the connection was closed while the body was being sent, which happens to
/// refused clients that go on sending for seconds.
fn post(address: SocketAddr, Body { path, content_type, body }: &Body<'_>) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: {content_type}\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

/// A zlib stream of `piece * pieces` zeros, for which only one piece is compressed.
fn zeros(piece: usize, pieces: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(piece / 100 + 1000);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; piece], &mut block, FlushCompress::Full).unwrap();
    let sum = ((piece as u64 * pieces as u64 % 65_521) as u32) << 16 | 1;
    [&[0x78, 0xda][..], &block.repeat(pieces), &[3, 0], &sum.to_be_bytes()].concat()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&name[..], data].concat();
    let mut crc = Crc::new();
    crc.update(&named);
    [&(data.len() as u32).to_be_bytes()[..], &named, &crc.sum().to_be_bytes()].concat()
}

/// A PNG of zeros with alpha and 16 bits per channel, so that a pixel takes 8 bytes.
fn deep_png(width: u32, height: u32) -> Vec<u8> {
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[16, 6, 0, 0, 0]].concat();
    let data = zeros(10 * (1 + 8 * width as usize), height as usize / 10);
    let chunks = [chunk(b"IHDR", &head), chunk(b"IDAT", &data), chunk(b"IEND", &[])];
    [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
}

/// A small PNG with a colour profile of half a gigabyte.
fn profile_bomb() -> Vec<u8> {
    let small = png(3);
    let profile = [&b"profile\0\0"[..], &zeros(1 << 20, 512)].concat();
    [&small[..33], &chunk(b"iCCP", &profile), &small[33..]].concat()
}

/// A progressive JPEG of one colour with `side * side` pixels: one bit per block for the first coefficients, and runs of empty blocks for
/// the others.
fn progressive_jpeg(side: u16, components: u8) -> Vec<u8> {
    let segment = |marker: u8, data: &[u8]| {
        let length = (data.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker][..], &length, data].concat()
    };
    // A Huffman table with a single symbol, whose code has one bit.
    let table =
        |class: u8, symbol: u8| segment(0xc4, &[&[class, 1][..], &[0; 15], &[symbol]].concat());
    let adobe = segment(0xee, &[&b"Adobe"[..], &[0, 100, 0, 0, 0, 0, 0]].concat());
    let quantisation = segment(0xdb, &[&[0][..], &[1; 64]].concat());
    let each = (1..=components).flat_map(|name| [name, 0x11, 0]).collect::<Vec<u8>>();
    let side_bytes = side.to_be_bytes();
    let frame = segment(0xc2, &[&[8][..], &side_bytes, &side_bytes, &[components], &each].concat());
    let blocks = usize::from(side).div_ceil(8).pow(2);
    let mut file = [&[0xff, 0xd8][..], &adobe, &quantisation, &frame].concat();
    file.extend([table(0, 0), table(0x10, 0xe0)].concat());
    let all = (1..=components).flat_map(|name| [name, 0]).collect::<Vec<u8>>();
    file.extend(segment(0xda, &[&[components][..], &all, &[0, 0, 0]].concat()));
    file.extend(vec![0; blocks * usize::from(components) / 8]);
    file.push(0xff >> (blocks * usize::from(components) % 8));
    for name in 1..=components {
        file.extend(segment(0xda, &[1, name, 0, 1, 63, 0]));
        let (mut left, mut bits) = (blocks, Vec::new());
        while left > 0 {
            // The symbol, followed by 14 bits with the length of the run above 2^14.
            let run = left.min(32_767);
            assert!(run >= 1 << 14, "{left} blocks are left");
            bits.push(false);
            bits.extend((0..14).rev().map(|bit| (run - (1 << 14)) >> bit & 1 == 1));
            left -= run;
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        for byte in bits.chunks(8) {
            let byte = byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            file.push(byte);
            file.extend((byte == 0xff).then_some(0));
        }
    }
    file.extend([0xff, 0xd9]);
    file
}

/// A WebP whose canvas and lossy frame declare another size.
fn stretched_webp(file: &[u8], side: u16) -> Vec<u8> {
    let mut file = file.to_vec();
    let three = |n: u16| [(n - 1).to_le_bytes()[0], (n - 1).to_le_bytes()[1], 0];
    let sides = [three(side), three(side)].concat();
    if &file[12..16] == b"VP8X" {
        file[24..30].copy_from_slice(&sides);
    }
    if let Some(frame) = file.windows(4).position(|name| name == b"ANMF") {
        file[frame + 14..frame + 20].copy_from_slice(&sides);
    }
    let image = file.windows(3).position(|start| start == [0x9d, 0x01, 0x2a]).unwrap() + 3;
    file[image..image + 4].copy_from_slice(&[side.to_le_bytes(), side.to_le_bytes()].concat());
    file
}

#[test]
fn the_worst_pictures_at_once_stay_below_a_gigabyte() {
    let lossless = image::RgbImage::from_pixel(6000, 6000, image::Rgb([9, 90, 200]));
    let pictures = [
        deep_png(8000, 5000),
        profile_bomb(),
        progressive_jpeg(6300, 3),
        progressive_jpeg(5700, 4),
        encoded(lossless, image::ImageFormat::WebP),
        stretched_webp(include_bytes!("../../../dhih-model/tests/data/lossy.webp"), 6300),
        stretched_webp(include_bytes!("../../../dhih-model/tests/data/lossy-alpha.webp"), 5700),
        stretched_webp(include_bytes!("../../../dhih-model/tests/data/animated.webp"), 5500),
        // Ten MiB that are not a picture, but must be held while they arrive.
        [b"\xff\xd8\xff\xe0", &vec![1; (10 << 20) - 1000][..]].concat(),
    ];
    let service = Service::start(&["--read-only"]);
    let address = service.address;
    assert_eq!(search(address, &png(7)), 200);
    let idle = service.peak();
    // One after the other, so that each picture is decoded, however busy this machine is.
    let alone: Vec<_> = pictures.iter().map(|picture| search(address, picture)).collect();
    let taken = service.peak();
    let statuses = thread::scope(|scope| {
        let requests = (0..AT_ONCE).map(|number| {
            let picture = &pictures[number % pictures.len()];
            scope.spawn(move || search(address, picture))
        });
        let requests: Vec<_> = requests.collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
    });
    let (peak, mib) = (service.peak(), |bytes: usize| bytes >> 20);
    println!(
        "{} MiB, then {} MiB one by one, {} MiB at once: {alone:?} {statuses:?}",
        mib(idle),
        mib(taken),
        mib(peak)
    );
    assert!(
        peak < MOST,
        "{} MiB; one by one {} MiB: {alone:?} {statuses:?}",
        mib(peak),
        mib(taken)
    );
    assert_eq!(alone[..4], [200; 4], "deep, with a profile, progressive, of four colours");
    assert!(
        alone.iter().chain(&statuses).all(|status| [200, 415, 422, 503].contains(status)),
        "{statuses:?}"
    );
    // The service has decoded large pictures, and continues to work.
    assert!(taken > idle + (300 << 20), "{} MiB, {} MiB", mib(idle), mib(taken));
    assert_eq!(search(address, &png(7)), 200);
}

/// Lines and lists of items grow more than other JSON. None of these items is added, because their ids are taken.
#[test]
fn the_most_items_of_json_at_once_stay_below_a_gigabyte() {
    const LINES: &str = "application/x-ndjson";
    let fill = |line: &str, bytes: usize| line.repeat(bytes / line.len());
    let metadata = |bytes: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(bytes / 2));
    let item =
        |metadata: &str| format!("{{\"code\":\"000000000000\",\"id\":1,\"metadata\":{metadata}}}");
    let list = |items: &[String]| format!("{{\"items\":[{}]}}", items.join(","));
    let largest = 10 << 20;
    let bodies = [
        (LINES, fill("\n", largest), 413),
        (LINES, fill("{}\n", largest), 413),
        (LINES, fill("{}\n", 1_500_000), 200),
        (LINES, fill("{\"code\":\"000000000000\",\"id\":1}\n", largest), 200),
        (LINES, fill(&(item(&metadata(16_000)) + "\n"), largest), 200),
        ("application/json", list(&vec![item(&metadata(16_000)); 250]), 409),
        ("application/json", list(&[item(&metadata(4_000_000))]), 400),
    ];
    let service = Service::start(&["--request-timeout", "120"]);
    let address = service.address;
    let send_one = |(content_type, body, _): &(&str, String, u16)| {
        let body = body.as_bytes();
        post(address, &Body { path: "/v1/items/batch", content_type, body })
    };
    let mut alone = Vec::new();
    for body in &bodies {
        alone.push((send_one(body), service.peak() >> 20));
    }
    let expected: Vec<u16> = bodies.iter().map(|(_, _, status)| *status).collect();
    let seen: Vec<u16> = alone.iter().map(|(status, _)| *status).collect();
    assert_eq!(seen, expected, "{alone:?}");
    // Of many at once most are refused. A few at once take turns.
    let all_at_once = |count: usize| {
        thread::scope(|scope| {
            let requests = (0..count).map(|number| {
                let (body, send_one) = (&bodies[number % bodies.len()], &send_one);
                scope.spawn(move || send_one(body))
            });
            let requests: Vec<_> = requests.collect();
            requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let statuses = [all_at_once(bodies.len()), all_at_once(AT_ONCE)].concat();
    let peak = service.peak() >> 20;
    println!("{alone:?} alone, {peak} MiB at once: {statuses:?}");
    assert!(peak < MOST >> 20, "{peak} MiB, alone {alone:?}: {statuses:?}");
    assert!(
        statuses.iter().all(|status| [0, 200, 400, 409, 413, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(search(address, &png(7)), 200);
}

/// Pictures in JSON may be as large as the limit for bodies. Other JSON grows when it is parsed.
#[test]
fn the_largest_json_at_once_stays_below_a_gigabyte() {
    let picture = |bytes: usize| {
        let bytes = [b"\xff\xd8\xff\xe0", &vec![1; bytes][..]].concat();
        format!("\"image\":\"{}\"", base64(&bytes))
    };
    let numbers = |bytes: usize| format!("\"vector\":[{}0]", "0,".repeat(bytes / 2));
    let bodies = [
        ("application/json", format!("{{{}}}", picture(7 << 20))),
        ("application/json", format!("{{{},{}}}", picture(4 << 20), numbers(3 << 20))),
        ("application/json", format!("{{{}}}", numbers(4_000_000))),
        ("application/json", format!("{{{}}}", numbers(9 << 20))),
        ("image/jpeg", "1".repeat((10 << 20) - 1000)),
    ];
    let service = Service::start(&["--read-only"]);
    let address = service.address;
    let alone: Vec<_> =
        bodies.iter().map(|(kind, body)| send(address, kind, body.as_bytes())).collect();
    assert_eq!(alone, [422, 400, 400, 413, 415], "each is read, and told what is wrong with it");
    let statuses = thread::scope(|scope| {
        let requests = (0..AT_ONCE).map(|number| {
            let (kind, body) = &bodies[number % bodies.len()];
            scope.spawn(move || send(address, kind, body.as_bytes()))
        });
        let requests: Vec<_> = requests.collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
    });
    let peak = service.peak() >> 20;
    println!("{peak} MiB at once: {statuses:?}");
    assert!(peak < MOST >> 20, "{peak} MiB: {statuses:?}");
    assert!(
        statuses.iter().all(|status| [0, 400, 413, 415, 422, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(search(address, &png(7)), 200);
}
