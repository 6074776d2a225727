/** What an answer took. Times are seconds. */
export interface Figures {
  firstToken: number | null;
  total: number;
  /** Over the whole call, as in its record: tokens may come all at once. */
  tokensPerSecond: number | null;
  inputTokens: number | null;
  outputTokens: number | null;
}

/** Runs from its making on. */
export class Stopwatch {
  private readonly started = performance.now();
  private first: number | null = null;
  private input: number | null = null;
  private output: number | null = null;

  token(): void {
    this.first ??= performance.now();
  }

  count(input: number, output: number): void {
    this.input = input;
    this.output = output;
  }

  figures(): Figures {
    const total = (performance.now() - this.started) / 1000;
    return {
      firstToken: this.first === null ? null : (this.first - this.started) / 1000,
      total,
      tokensPerSecond: this.output !== null && total > 0 ? this.output / total : null,
      inputTokens: this.input,
      outputTokens: this.output,
    };
  }
}
