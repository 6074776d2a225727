/** The gateway answered with an error. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null = null,
    /** Seconds to wait before another try; null where the gateway names none. */
    readonly retryAfter: number | null = null,
    readonly requestId = "",
  ) {
    super(message);
  }
}

/** Nobody answered, or something that isn't the gateway did. */
export class Away extends Error {
  constructor() {
    super("The gateway doesn't answer.");
  }
}

/** Whether an error says that the key itself isn't taken (any more). */
export function keyRefused(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 401;
}

/** Whether a request was given up by ourselves. */
export function aborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** One plain sentence for a person. */
export function sentence(error: unknown): string {
  if (error instanceof ApiError && error.param) return `${error.param}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}
