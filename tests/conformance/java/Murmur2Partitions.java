import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Reads keys (int32 size, bytes) from stdin and prints the partition that Java's default partitioner gives each. */
public class Murmur2Partitions {
    public static void main(String[] arguments) throws IOException {
        int partitions = Integer.parseInt(arguments[0]);
        DataInputStream keys = new DataInputStream(System.in);
        StringBuilder out = new StringBuilder();
        while (true) {
            byte[] key;
            try {
                key = new byte[keys.readInt()];
            } catch (EOFException end) {
                break;
            }
            keys.readFully(key);
            out.append(BuiltInPartitioner.partitionForKey(key, partitions)).append('\n');
        }
        System.out.print(out);
    }
}
