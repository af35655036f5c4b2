/** Pointer files of Git LFS: a few lines in the repository that stand for an object which lies elsewhere. */

/** No pointer is longer: programs of Git LFS take a longer file for content. */
export const MAX_POINTER_BYTES = 1024;

// What programs of Git LFS still read counts, and not only what they write: older versions, other line ends, keys in between.
const POINTER =
  /^\s*version[ \t]+https?:\/\/(?:git-lfs\.github\.com|hawser\.github\.com|git-media\.io)\/[\s\S]*^oid[ \t]+sha256:[0-9a-f]{64}\s*$/m;

/** Does a file with this content stand for an object of Git LFS? */
export function isPointer(content: string): boolean {
  return Buffer.byteLength(content) <= MAX_POINTER_BYTES && POINTER.test(content);
}
