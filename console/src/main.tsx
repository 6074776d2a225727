import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/controls.css";
import "./styles/shell.css";
import "./styles/playground.css";
import "./styles/media.css";
import "./styles/prose.css";
import "./styles/figures.css";
import "./styles/tables.css";
import { render } from "preact";
import { App } from "./app";
import { startLink } from "./state/link";

const root = document.getElementById("root");
if (root !== null) {
  startLink();
  render(<App />, root);
}
