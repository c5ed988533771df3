//! Names of branches and commits, checked before git sees them.

use deploymind_shared::error::{Code, Error};

use super::Want;

/// The want again, with the commit in lower case.
///
/// # Errors
/// `BranchNotFound` or `CommitNotFound`: a name that cannot be is not there.
pub(super) fn checked(want: &Want) -> Result<Want, Error> {
    let branch_is_possible = |branch: &str| {
        if is_branch(branch) {
            return Ok(());
        }
        // The name is shown escaped: it may hold anything.
        let shown: String = branch.chars().take(100).collect();
        Err(Error::new(
            Code::BranchNotFound,
            format!(
                "{shown:?} cannot be the name of a branch; give it as `git branch -r` shows it, without `origin/`"
            ),
        ))
    };
    match want {
        Want::Branch(branch) => branch_is_possible(branch).map(|()| want.clone()),
        Want::Commit { sha, branch } => {
            branch.as_deref().map_or(Ok(()), branch_is_possible)?;
            let sha = sha.to_ascii_lowercase();
            if !is_sha(&sha) {
                return Err(Error::new(
                    Code::CommitNotFound,
                    "a commit is named by all 40 (or 64) hexadecimal digits; `git rev-parse HEAD` prints them",
                ));
            }
            Ok(Want::Commit { sha, branch: branch.clone() })
        }
    }
}

/// SHA-1 or SHA-256, lower case, and not the null id.
pub(super) fn is_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|b| b != b'0')
}

/// The rules of git-check-ref-format(1) for `refs/heads/<branch>`, and at most 250 bytes.
fn is_branch(branch: &str) -> bool {
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    !branch.is_empty()
        && branch.len() <= 250
        && !branch.starts_with('-')
        && branch != "@"
        && branch != "HEAD"
        && !branch.contains(forbidden)
        && !branch.contains("..")
        && !branch.contains("@{")
        && !branch.ends_with('.')
        && branch
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sha_is_whole_and_lower_case_afterwards() {
        let sha = "ABCDEF0123456789abcdef0123456789abcdef01";
        let want = Want::Commit { sha: sha.into(), branch: None };
        let lower = Want::Commit { sha: sha.to_lowercase(), branch: None };
        assert_eq!(checked(&want).expect("valid"), lower);
        for bad in
            ["", "abc", "HEAD", &"0".repeat(40), &"g".repeat(40), &"a".repeat(41), "-".repeat(40).as_str()]
        {
            let error = checked(&Want::Commit { sha: bad.into(), branch: None }).expect_err(bad);
            assert_eq!(error.code(), Code::CommitNotFound);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn branches_are_judged_as_git_judges_them(name in "[-a-zA./@{\\[*~^: \\\\é]{0,8}(\\.lock|/HEAD|)") {
            let git = Command::new("git").args(["check-ref-format", "--branch", &name]).current_dir("/").output();
            prop_assume!(name != "HEAD" && !name.starts_with("@{"));
            prop_assert_eq!(is_branch(&name), git.expect("git").status.success(), "{:?}", name);
        }
    }
}
