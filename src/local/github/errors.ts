/** An answer that GitHub gives instead of a result: the status and its documented body. */
export class GitHubError extends Error {
  override readonly name = 'GitHubError';
  readonly status: number;
  readonly errors: readonly FieldError[] | undefined;

  constructor(status: number, message: string, errors?: readonly FieldError[]) {
    super(message);
    this.status = status;
    this.errors = errors;
  }

  body(): Record<string, unknown> {
    return {
      message: this.message,
      ...(this.errors === undefined ? {} : { errors: this.errors }),
      documentation_url: 'https://docs.github.com/rest',
      status: String(this.status),
    };
  }
}

export interface FieldError {
  resource: string;
  field?: string;
  code: 'missing' | 'missing_field' | 'invalid' | 'already_exists' | 'custom';
  message?: string;
}

export function notFound(): GitHubError {
  return new GitHubError(404, 'Not Found');
}

export function invalid(error: FieldError): GitHubError {
  return new GitHubError(422, 'Validation Failed', [error]);
}
