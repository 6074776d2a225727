import type { JSX } from "preact";
import type { QualityReport } from "../../api/types";
import { count, score } from "../../lib/format";
import { Columns } from "../../ui/columns";
import { TableFrame } from "../../ui/table-frame";
import { SCORES } from "./scores";

/** The means of the whole range. */
export function ByModel({ models }: { models: QualityReport["models"] }): JSX.Element {
  const titles = SCORES.map(([title]) => title);
  return (
    <section class="section" aria-label="By model">
      <h2>By model</h2>
      <TableFrame label="By model, table">
        <table>
          <Columns texts={["Model"]} numbers={["Judged", ...titles, "Feedback"]} />
          <tbody>
            {Object.entries(models).map(([name, summary]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{count(summary.evaluated)}</td>
                {SCORES.map(([title, , mean]) => (
                  <td key={title} class="number">
                    {score(summary[mean])}
                  </td>
                ))}
                <td class="number">{count(summary.feedback)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </section>
  );
}
