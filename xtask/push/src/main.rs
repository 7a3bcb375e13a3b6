//! `make push`: pushes the image of a folder, and prints its name by digest.

use anyhow::{Result, bail};
use std::path::Path;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address] = arguments.as_slice() else { bail!("usage: push FOLDER ADDRESS") };
    println!("{}", push::image(Path::new(folder), address).await?);
    Ok(())
}
