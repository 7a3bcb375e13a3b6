//! The release notes of a version: its section of CHANGELOG.md, in the form of Keep a Changelog.

use anyhow::{Context, Result, ensure};

/// What stands below the heading of a version, up to the next one, or to what the headings link to.
///
/// # Errors
/// There is no section of the version, it has no date, or nothing in it.
pub(crate) fn notes<'a>(changelog: &'a str, version: &str) -> Result<&'a str> {
    let heading = format!("## [{version}]");
    let (start, line) = lines(changelog)
        .find(|(_, line)| line.starts_with(&heading))
        .with_context(|| format!("CHANGELOG.md has no section \"{heading} - DATE\""))?;
    let date = line.strip_prefix(&heading).and_then(|rest| rest.strip_prefix(" - "));
    ensure!(
        date.is_some_and(is_date),
        "CHANGELOG.md: \"{line}\" has no date, as in \"{heading} - 2026-01-31\""
    );
    let body = changelog.get(start + line.len()..).unwrap_or_default();
    let ends =
        |line: &str| line.starts_with("## ") || line.starts_with('[') && line.contains("]: ");
    let end = lines(body).find(|(_, line)| ends(line)).map_or(body.len(), |it| it.0);
    let body = body.get(..end).unwrap_or_default().trim();
    ensure!(!body.is_empty(), "CHANGELOG.md says nothing about {version}");
    Ok(body)
}

/// The lines, and where each begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |place, line| {
        let start = *place;
        *place += line.len();
        Some((start, line.trim_end()))
    })
}

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|it| it.len()).eq([4, 2, 2])
        && parts.concat().bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n### Added\n- Not yet.\n\n\
        ## [1.2.3] - 2026-01-31\n\n### Added\n- One.\n  Its second line.\n\n### Fixed\n- Two.\n\n\
        ## [1.2.0] - 2025-12-01\n- Old.\n\n## [1.1.0]\n- No date.\n\n## [1.0.0] - today\n- No date.\n\n\
        ## [0.9.0] - 2025-01-01\n\n## [0.1.0] - 2024-01-01\n- The first.\n\n\
        [Unreleased]: https://example.com/compare/v1.2.3...HEAD\n";

    #[test]
    fn the_notes_are_the_section_of_the_version() {
        for (version, notes_of_it, reason) in [
            ("1.2.3", "### Added\n- One.\n  Its second line.\n\n### Fixed\n- Two.", "all of it"),
            ("1.2.0", "- Old.", "one in the middle"),
            ("0.1.0", "- The first.", "the last one"),
        ] {
            assert_eq!(notes(CHANGELOG, version).expect(reason), notes_of_it, "{reason}");
        }
    }

    #[test]
    fn a_version_without_notes_is_refused() {
        for (version, message) in [
            ("1.2.4", "CHANGELOG.md has no section \"## [1.2.4] - DATE\""),
            ("1.2", "CHANGELOG.md has no section \"## [1.2] - DATE\""),
            ("1.1.0", "\"## [1.1.0]\" has no date"),
            ("1.0.0", "\"## [1.0.0] - today\" has no date"),
            ("0.9.0", "CHANGELOG.md says nothing about 0.9.0"),
        ] {
            let error = notes(CHANGELOG, version).expect_err(version).to_string();
            assert!(error.contains(message), "{version}: {error}");
        }
    }
}
