/** A comment on a line of a pull request's diff. */
export interface LineComment {
  id: number;
  /** The first comment of its thread; absent: it is the first. */
  inReplyTo?: number | undefined;
  reviewId?: number | undefined;
  author: string;
  authorId?: number | undefined;
  authorType: string;
  path: string;
  line?: number | undefined;
  hunk: string;
  body: string;
  /** ISO 8601, as GitHub gave it. */
  updatedAt: string;
  /** Written by this App. */
  ours: boolean;
}

/** A check of another App that failed on a commit. */
export interface FailingCheck {
  id: number;
  name: string;
  /** The App that reports it. */
  app: string;
  conclusion: string;
  completedAt: string;
  /** Title, summary, annotations and the relevant part of the log: anybody's words. */
  text: string;
}
