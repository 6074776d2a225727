import type { JSX } from "preact";
import type { QualityRow } from "../../api/types";
import { moment, score } from "../../lib/format";
import { Columns } from "../../ui/columns";
import { TableFrame } from "../../ui/table-frame";

const SHOWN = 10; // newest comments

/** What callers wrote beside their feedback. */
export function Comments({ rows }: { rows: QualityRow[] }): JSX.Element | null {
  const said = rows.filter((row) => row.comment !== "").slice(0, SHOWN);
  if (said.length === 0) return null;
  return (
    <section class="section" aria-label="Comments">
      <h2>Newest comments of callers</h2>
      <TableFrame label="Comments, table">
        <table>
          <Columns texts={["Call ended", "Model", "Comment"]} numbers={["Satisfaction"]} />
          <tbody>
            {said.map((row) => (
              <tr key={row.id}>
                <td>{moment(row.time)}</td>
                <td>{row.model}</td>
                <td class="wrap">{row.comment}</td>
                <td class="number">{score(row.user_satisfaction)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableFrame>
    </section>
  );
}
